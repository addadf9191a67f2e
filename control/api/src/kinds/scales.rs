//! `autoscaling/v1` Scale: what `/scale` shows of the kinds that have it. It has no path of its own and is no row of the
//! table; here are its columns.

use crate::kind::{Kind, Rules};
use crate::table::{self, AGE, NAME, integer};

/// `Scale`.
pub static SCALE: Kind = Kind {
    group: "autoscaling",
    kind: "Scale",
    rules: Rules {
        columns: &[NAME, integer("Desired", "Pods wanted."), integer("Available", "Pods there are."), AGE],
        cells: |object, now| {
            let count = |pointer| object.int(pointer).unwrap_or_default().into();
            vec![
                object.name().into(),
                count("/spec/replicas"),
                count("/status/replicas"),
                table::age(object, now).into(),
            ]
        },
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};
