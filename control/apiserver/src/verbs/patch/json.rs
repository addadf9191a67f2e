//! JSON patches (RFC 6902), applied operation by operation so that a small body cannot make a large or a deep object:
//! what an operation puts in is measured before it is put in.

use std::io;

use json_patch::jsonptr::Pointer;
use json_patch::{Patch, PatchErrorKind, PatchOperation};
use serde_json::Value;
use wk_api::{Reason, Status};

/// Operations of one JSON patch, as in Kubernetes: each may copy a large part of the object.
const OPERATIONS_MAX: usize = 10_000;

/// What all `copy` operations of a patch may copy together, as JSON text: Kubernetes' `AccumulatedCopySizeLimit`, the
/// size of the largest body. Copies of copies double the object each time.
const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Steps that moving things and shifting lists may take together, in bytes measured and items shifted: some tenths
/// of a second, and the largest object moved as a whole forty times.
const STEPS_MAX: usize = 64 * 1024 * 1024;

/// Tokens of a pointer: nothing lies deeper than [`DEPTH_MAX`], and `-` or a new key may be one more.
const TOKENS_MAX: usize = 128;

/// How deep a patched object may nest: the deepest JSON text that can be read back from the store.
const DEPTH_MAX: usize = 127;

/// How much of a pointer a refusal shows.
const SHOWN_CHARS_MAX: usize = 256;

/// What is left to spend on one application.
struct Budget {
    copied: usize,
    steps: usize,
}

/// Reads what a JSON patch must keep to before it is applied.
pub(super) fn check(patch: &Patch) -> Result<(), Status> {
    let found = patch.0.len();
    if found > OPERATIONS_MAX {
        let message = format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {found}");
        return Err(Status::too_large(message));
    }
    for operation in &patch.0 {
        let from = match operation {
            PatchOperation::Move(moved) => tokens(&moved.from),
            PatchOperation::Copy(copied) => tokens(&copied.from),
            _ => 0,
        };
        if tokens(operation.path()).max(from) > TOKENS_MAX {
            let message = format!("error decoding patch: a path has more than {TOKENS_MAX} parts");
            return Err(Status::bad_request(message));
        }
    }
    Ok(())
}

/// Applies a checked patch. What it leaves in `value` when it fails is of no use.
pub(super) fn apply(value: &mut Value, patch: &Patch) -> Result<(), Status> {
    let mut budget = Budget { copied: COPIED_BYTES_MAX, steps: STEPS_MAX };
    for (index, operation) in patch.0.iter().enumerate() {
        budget.admit(value, operation)?;
        json_patch::patch_unsafe(value, std::slice::from_ref(operation))
            .map_err(|error| refused(index, &error.path, &error.kind))?;
    }
    Ok(())
}

impl Budget {
    /// Charges an operation, and refuses one that costs more than is left or makes the object too deep.
    fn admit(&mut self, value: &Value, operation: &PatchOperation) -> Result<(), Status> {
        let path = operation.path();
        match operation {
            PatchOperation::Add(add) => {
                self.shift(value, path)?;
                fits(path, &add.value)
            }
            PatchOperation::Replace(replace) => fits(path, &replace.value),
            PatchOperation::Remove(_) => self.shift(value, path),
            PatchOperation::Copy(copy) => {
                self.shift(value, path)?;
                // A source that is not there is told when it is applied.
                let Some(source) = value.pointer(copy.from.as_str()) else { return Ok(()) };
                fits(path, source)?;
                let left = self.copied;
                self.copied = size(source, left).and_then(|size| left.checked_sub(size)).ok_or_else(|| {
                    Status::too_large(format!(
                        "The copy operations of the JSON patch copy more than {COPIED_BYTES_MAX} bytes together"
                    ))
                })?;
                Ok(())
            }
            PatchOperation::Move(moved) => {
                self.shift(value, &moved.from)?;
                self.shift(value, path)?;
                let Some(source) = value.pointer(moved.from.as_str()) else { return Ok(()) };
                let size = size(source, self.steps).ok_or_else(too_much)?;
                self.spend(size)?;
                fits(path, source)
            }
            PatchOperation::Test(_) => Ok(()),
        }
    }

    /// Charges the items that move when one is put into a list, or taken out.
    fn shift(&mut self, value: &Value, path: &Pointer) -> Result<(), Status> {
        let items = path.split_back().and_then(|(parent, _)| value.pointer(parent.as_str())).and_then(Value::as_array);
        self.spend(items.map_or(0, Vec::len))
    }

    fn spend(&mut self, steps: usize) -> Result<(), Status> {
        self.steps = self.steps.checked_sub(steps).ok_or_else(too_much)?;
        Ok(())
    }
}

fn too_much() -> Status {
    Status::too_large("The operations of the JSON patch move too much: send several patches")
}

/// What lies at `path` then may not lie deeper than the store reads.
fn fits(path: &Pointer, value: &Value) -> Result<(), Status> {
    if tokens(path) + depth(value) <= DEPTH_MAX {
        return Ok(());
    }
    let message = format!("the JSON patch makes an object that nests deeper than {DEPTH_MAX} levels");
    Err(Status::too_large(message))
}

/// Levels of lists and objects; 0 for a plain value. No deeper than [`DEPTH_MAX`] in an object, nor in a body.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Length of the JSON text; None when it is more than `limit`.
fn size(value: &Value, limit: usize) -> Option<usize> {
    let mut counter = Counter { left: limit };
    serde_json::to_writer(&mut counter, value).ok()?;
    Some(limit - counter.left)
}

/// Counts bytes and fails when they are too many.
struct Counter {
    left: usize,
}

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Parts of a pointer: a slash within one is written `~1`.
fn tokens(pointer: &Pointer) -> usize {
    pointer.as_str().bytes().filter(|byte| *byte == b'/').count()
}

fn refused(index: usize, path: &Pointer, kind: &PatchErrorKind) -> Status {
    // Kubernetes says no more than "the server rejected our request due to an error in our request".
    let why = match kind {
        PatchErrorKind::TestFailed => "a test did not hold",
        PatchErrorKind::InvalidPointer => "a path does not exist",
        _ => "it cannot be applied",
    };
    let path: String = path.as_str().chars().take(SHOWN_CHARS_MAX).collect();
    let message = format!(
        "the server rejected our request due to an error in our request: JSON patch operation {index} on {path:?}: {why}"
    );
    Status::new(422, Reason::Invalid, message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(mut value: Value, operations: Value) -> Result<Value, Status> {
        let patch: Patch = serde_json::from_value(operations).expect("a patch");
        check(&patch)?;
        apply(&mut value, &patch)?;
        Ok(value)
    }

    #[test]
    fn copies_of_copies_end_at_the_budget() {
        let double = |index: usize| json!({ "op": "copy", "from": "/a", "path": format!("/a/k{index}") });
        let operations: Vec<Value> = (0..100).map(double).collect();
        let refused = run(json!({ "a": { "x": "y" } }), operations.into()).expect_err("2^100 bytes");
        assert_eq!(refused.code, 413, "{refused}");
    }

    #[test]
    fn no_patch_nests_deeper_than_can_be_read_back() {
        for op in ["copy", "move"] {
            let path = "/k".repeat(60);
            let mut nested = json!(1);
            for _ in 0..70 {
                nested = json!({ "k": nested });
            }
            let value = json!({ "k": nested, "from": nested });
            let operations = json!([{ "op": op, "from": "/from", "path": path }]);
            assert_eq!(run(value, operations).expect_err("130 levels").code, 413, "{op}");
        }
        let mut chain = Vec::new();
        for _ in 0..200 {
            chain.push(json!({ "op": "add", "path": "/new", "value": {} }));
            chain.push(json!({ "op": "move", "from": "/old", "path": "/new/old" }));
            chain.push(json!({ "op": "move", "from": "/new", "path": "/old" }));
        }
        assert_eq!(run(json!({ "old": {} }), chain.into()).expect_err("200 levels").code, 413);
        let long = json!([{ "op": "remove", "path": "/k".repeat(129) }]);
        assert_eq!(run(json!({}), long).expect_err("a long path").code, 400);
    }

    #[test]
    fn shifting_a_long_list_over_and_over_is_refused() {
        let mut operations = vec![json!({ "op": "add", "path": "/list", "value": vec![0; 100_000] })];
        operations.resize(9_000, json!({ "op": "add", "path": "/list/0", "value": 0 }));
        assert_eq!(run(json!({}), operations.into()).expect_err("900 million steps").code, 413);
        let many = vec![json!({ "op": "test", "path": "", "value": {} }); OPERATIONS_MAX + 1];
        assert_eq!(run(json!({}), many.into()).expect_err("too many").code, 413);
    }

    #[test]
    fn an_ordinary_patch_does_what_it_says() {
        let operations = json!([
            { "op": "copy", "from": "/a", "path": "/b" }, { "op": "move", "from": "/a", "path": "/c" },
            { "op": "add", "path": "/list/-", "value": 2 }, { "op": "test", "path": "/list/0", "value": 1 },
        ]);
        let patched = run(json!({ "a": "x", "list": [1] }), operations).expect("applied");
        assert_eq!(patched, json!({ "b": "x", "c": "x", "list": [1, 2] }));
        let failed = json!([{ "op": "test", "path": "", "value": {} }, { "op": "remove", "path": "/x" }]);
        let refused = run(json!({}), failed).expect_err("no x");
        assert!(refused.code == 422 && refused.message.contains("operation 1 on \"/x\""), "{refused}");
    }
}
