//! Patches drawn at random from a kind's own fields: what they make of a sound object is refused, or is a sound object.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

use super::*;
use crate::decode::{self, FieldValidation};
use crate::object::Object;
use crate::patch::strategic;
use crate::schema::{Schema, Shape, schema_of};
use crate::strategy::update;

/// Numbers that decide what a patch says, one after the other; nothing more when there are none left.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn below(&mut self, count: usize) -> usize {
        usize::from(*self.0.next().unwrap_or(&0)) % count.max(1)
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    fn is_left(&self) -> bool {
        self.0.len() > 0
    }

    /// A value for a place of this shape, or now and then one that does not belong there.
    fn value(&mut self, schema: &Schema, shape: &Shape, depth: usize) -> Value {
        const WORDS: [&str; 14] = [
            "",
            "a",
            "b",
            "A b",
            "Always",
            "Never",
            "TCP",
            "UDP",
            "x.example/y",
            "-",
            "80%",
            "web",
            "ClusterIP",
            "1Gi",
        ];
        match self.below(16) {
            0 => return Value::Null,
            1 => return json!([{"a": 1}]),
            2 => return json!({"$patch": self.one(&["replace", "delete", "merge"])}),
            _ => {}
        }
        match shape {
            Shape::Struct(id, _) if depth > 0 => {
                let fields: Vec<_> = schema.get(*id).fields.iter().collect();
                let mut made = Map::new();
                for _ in 0..=self.below(3) {
                    if !fields.is_empty() && self.is_left() {
                        let (name, field) = fields[self.below(fields.len())];
                        made.insert(name.clone(), self.value(schema, &field.shape, depth - 1));
                    }
                }
                if made.is_empty() { json!({}) } else { Value::Object(made) }
            }
            Shape::Map(of, _) if depth > 0 => {
                let key = self.one(&["a", "b", "cpu", "x.example/y", "_"]);
                json!({ key: self.value(schema, of, depth - 1) })
            }
            Shape::List(of, _) if depth > 0 => (0..self.below(3)).map(|_| self.value(schema, of, depth - 1)).collect(),
            Shape::Struct(..) | Shape::Map(..) => json!({}),
            Shape::List(..) => json!([]),
            Shape::Text(_) | Shape::Quantity | Shape::Any | Shape::Deduced => self.one(&WORDS).into(),
            Shape::Int32 | Shape::Int64 | Shape::Float => self.one(&[-1_i64, 0, 1, 2, 80, 70_000, i64::MAX]).into(),
            Shape::IntOrString => self.one(&[json!(0), json!(80), json!("25%"), json!("http"), json!(-1)]),
            Shape::Bool => (self.below(2) == 0).into(),
            Shape::Bytes => self.one(&["", "YQ==", "?"]).into(),
            Shape::Time | Shape::MicroTime => self.one(&["2025-01-01T00:00:00Z", "now"]).into(),
        }
    }

    /// A patch of one or two members of the object, most often of its spec.
    fn patch(&mut self, kind: &Kind) -> Value {
        let schema = schema_of(kind);
        let mut made = Map::new();
        for _ in 0..=self.below(2) {
            let fields: Vec<_> = schema.root().fields.iter().filter(|(name, _)| *name != "status").collect();
            let spec = fields.iter().position(|(name, _)| *name == "spec" || *name == "data");
            let at = spec.filter(|_| self.below(4) > 0).unwrap_or_else(|| self.below(fields.len()));
            let (name, field) = fields[at];
            made.insert(name.clone(), self.value(schema, &field.shape, 6));
        }
        Value::Object(made)
    }
}

/// Whether the patch was taken. What it made is as sound as what was there.
fn is_taken(kind: &Kind, base: &Object, patched: Value, facts: &Facts<'_>) -> Result<bool, TestCaseError> {
    let Ok((value, _)) = decode::patched(kind, patched, None, Vec::new(), FieldValidation::Ignore) else {
        return Ok(false);
    };
    let Ok(made) = update(kind, base, value, facts) else { return Ok(false) };
    // Written once more as it is, it is taken, and nothing changes: defaults are whole, and no rule is broken.
    let again = update(kind, &made, made.0.clone(), facts);
    prop_assert!(again.is_ok(), "{kind}: {:?}\n{}", again.err().map(|status| status.message), made.0);
    prop_assert_eq!(&again.unwrap_or_else(|_| made.clone()), &made);
    // Who reads it strictly finds nothing strange.
    let read = decode::bytes(kind, made.0.to_string().as_bytes(), FieldValidation::Strict);
    prop_assert!(read.is_ok(), "{kind}: {:?}\n{}", read.err().map(|status| status.message), made.0);
    // A null in a status stands for nothing.
    let read = read.map(|(value, _)| value).unwrap_or_default();
    prop_assert!(crate::json::same(&read, &made.0), "{read}\n{}", made.0);
    Ok(*base != made)
}

#[test]
fn what_a_random_patch_makes_is_refused_or_sound() {
    let kinds: [&Kind; 12] = [
        &POD,
        &DEPLOYMENT,
        &STATEFULSET,
        &JOB,
        &CRONJOB,
        &SERVICE,
        &INGRESS,
        &CONFIGMAP,
        &NETWORKPOLICY,
        &HORIZONTALPODAUTOSCALER,
        &HTTPROUTE,
        &GATEWAY,
    ];
    let facts = Facts { now: "2025-01-01T00:00:00Z".parse().unwrap(), uid: "u", suffix: "x" };
    let bases = kinds.map(|kind| create(kind, Some("default"), sound(kind), &facts).expect("a sound object"));
    let (mut taken, mut refused) = ([0_usize; 12], 0_usize);
    let mut runner = TestRunner::new(ProptestConfig { cases: 3_000, ..ProptestConfig::default() });
    let counts = std::cell::RefCell::new((&mut taken, &mut refused));
    let draws = (0..kinds.len(), any::<bool>(), prop::collection::vec(any::<u8>(), 1..80));
    let outcome = runner.run(&draws, |(at, strategically, choices)| {
        let (kind, base) = (kinds[at], &bases[at]);
        let patch = Choices(choices.iter()).patch(kind);
        let mut patched = base.0.clone();
        if strategically {
            match strategic::apply(schema_of(kind), patched, patch) {
                Ok(value) => patched = value,
                Err(_) => return Ok(()),
            }
        } else {
            merge(&mut patched, &patch);
        }
        let is_taken = is_taken(kind, base, patched, &facts)?;
        let mut counts = counts.borrow_mut();
        if is_taken {
            counts.0[at] += 1;
        } else {
            *counts.1 += 1;
        }
        Ok(())
    });
    outcome.unwrap_or_else(|why| panic!("{why}"));
    // A property of what never happens would hold always.
    assert!(taken.iter().all(|count| *count > 0) && refused > 100, "{taken:?} taken, {refused} refused");
}
