//! Objects without the values that Go would not write: `hostNetwork: false` and `tolerations: []` say nothing, and who
//! sends them asks for no change.
//!
//! Which fields those are is the struct tags' word: `omitempty` on what is no pointer. The table of protobuf messages
//! holds it ([`crate::protobuf::omits_empty`]). Custom kinds have no Go types: of them nothing is left out.

use serde_json::{Map, Value};

use super::{Schema, Shape, Struct};

impl Schema {
    /// Drops what says nothing, at every depth.
    pub(crate) fn tidy(&self, value: &mut Value) {
        if let Value::Object(members) = value {
            self.tidy_members(self.root(), members);
        }
    }

    fn tidy_members(&self, of: &Struct, members: &mut Map<String, Value>) {
        members.retain(|name, value| {
            let Some(field) = of.fields.get(name) else { return true };
            self.tidy_value(&field.shape, value);
            !(field.omits_empty && is_zero(value))
        });
    }

    fn tidy_value(&self, shape: &Shape, value: &mut Value) {
        match (shape, value) {
            (Shape::Struct(id, _), Value::Object(members)) => self.tidy_members(self.get(*id), members),
            (Shape::Map(of, _), Value::Object(members)) if of.has_structs() => {
                members.iter_mut().for_each(|(_, value)| self.tidy_value(of, value));
            }
            (Shape::List(of, _), Value::Array(items)) if of.has_structs() => {
                for value in items {
                    self.tidy_value(of, value);
                }
            }
            _ => {}
        }
    }
}

impl Shape {
    /// Whether there may be fields somewhere in it.
    fn has_structs(&self) -> bool {
        match self {
            Self::Struct(..) => true,
            Self::Map(of, _) | Self::List(of, _) => of.has_structs(),
            _ => false,
        }
    }
}

/// Whether it is what Go makes of a field that is not there.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(yes) => !yes,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}
