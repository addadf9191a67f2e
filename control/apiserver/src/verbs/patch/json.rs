//! JSON patches (RFC 6902), applied operation by operation so that a small body cannot make a large or a deep object:
//! what an operation puts in is measured before it is put in.

use std::borrow::Cow;
use std::io;

use json_patch::jsonptr::{Pointer, PointerBuf};
use json_patch::{AddOperation, Patch, PatchOperation};
use serde_json::Value;
use wk_api::patch::unprocessable;
use wk_api::{Status, decode};

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

/// Strict problems told at most, as for other bodies.
const PROBLEMS_MAX: usize = 100;

/// What is left to spend on one application.
struct Budget {
    copied: usize,
    steps: usize,
}

/// Reads a patch; answers the strict problems of its text too.
///
/// As with the library of Kubernetes (`evanphx/json-patch`): members that no operation has are problems, not errors.
pub(super) fn read(bytes: &[u8]) -> Result<(Patch, Vec<String>), Status> {
    let unreadable = |why: String| Status::bad_request(format!("error decoding patch: {why}"));
    let (value, mut problems) = decode::parse(bytes).map_err(|error| unreadable(error.to_string()))?;
    let Value::Array(operations) = &value else {
        let what = super::go_name(&value);
        return Err(unreadable(format!("json: cannot unmarshal {what} into Go value of type []handlers.jsonPatchOp")));
    };
    for (index, operation) in operations.iter().enumerate() {
        let kind = operation.get("op").and_then(Value::as_str).unwrap_or_default();
        if !["add", "remove", "replace", "move", "copy", "test"].contains(&kind) {
            return Err(unprocessable());
        }
        for member in operation.as_object().into_iter().flat_map(serde_json::Map::keys) {
            if !["op", "path", "from", "value"].contains(&member.as_str()) && problems.len() < PROBLEMS_MAX {
                problems.push(format!("unknown field {:?}", format!("[{index}].{member}")));
            }
        }
    }
    let problems = problems.into_iter().map(|problem| format!("json patch {problem}")).collect();
    let patch: Patch = serde_json::from_value(value).map_err(|error| unreadable(error.to_string()))?;
    check(&patch)?;
    Ok((patch, problems))
}

/// Reads what a JSON patch must keep to before it is applied.
fn check(patch: &Patch) -> Result<(), Status> {
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
    for operation in &patch.0 {
        let Some(operation) = dialect(value, operation) else { continue };
        budget.admit(value, &operation)?;
        json_patch::patch_unsafe(value, std::slice::from_ref(operation.as_ref())).map_err(|_| unprocessable())?;
    }
    Ok(())
}

/// The operation as RFC 6902 has it, of one in the dialect of Kubernetes' library: indices may count from the end,
/// `replace` sets a member that is not there, and a missing member equals null (None: a test that holds).
fn dialect<'a>(value: &Value, operation: &'a PatchOperation) -> Option<Cow<'a, PatchOperation>> {
    let from_end = |path: &Pointer| path.as_str().contains("/-");
    let mut operation = Cow::Borrowed(operation);
    if let PatchOperation::Copy(json_patch::CopyOperation { from, .. })
    | PatchOperation::Move(json_patch::MoveOperation { from, .. }) = operation.as_ref()
        && from_end(from)
    {
        let from = counted(value, from, 0);
        match operation.to_mut() {
            PatchOperation::Copy(copy) => copy.from = from,
            PatchOperation::Move(moved) => moved.from = from,
            _ => {}
        }
    }
    if from_end(operation.path()) {
        match operation.to_mut() {
            PatchOperation::Add(add) => add.path = counted(value, &add.path, 1),
            PatchOperation::Copy(copy) => copy.path = counted(value, &copy.path, 1),
            PatchOperation::Move(moved) => moved.path = counted(value, &moved.path, 1),
            PatchOperation::Remove(remove) => remove.path = counted(value, &remove.path, 0),
            PatchOperation::Replace(replace) => replace.path = counted(value, &replace.path, 0),
            PatchOperation::Test(test) => test.path = counted(value, &test.path, 0),
        }
    }
    let is_missing = |path: &Pointer| {
        let parent = path.split_back().and_then(|(parent, _)| value.pointer(parent.as_str()));
        parent.is_some_and(Value::is_object) && value.pointer(path.as_str()).is_none()
    };
    match operation.as_ref() {
        PatchOperation::Replace(replace) if is_missing(&replace.path) => {
            let add = AddOperation { path: replace.path.clone(), value: replace.value.clone() };
            Some(Cow::Owned(PatchOperation::Add(add)))
        }
        PatchOperation::Test(test) if test.value.is_null() && is_missing(&test.path) => None,
        _ => Some(operation),
    }
}

/// A pointer whose parts may count from the end of a list; `room` is 1 where the last may be one past it.
fn counted(value: &Value, path: &Pointer, room: usize) -> PointerBuf {
    let (mut at, mut text) = (Some(value), String::new());
    let count = path.tokens().count();
    for (index, token) in path.tokens().enumerate() {
        let back = token.encoded().strip_prefix('-').and_then(|back| back.parse::<usize>().ok());
        let list = at.and_then(Value::as_array);
        let room = if index + 1 == count { room } else { 0 };
        let from_end = list.zip(back).and_then(|(list, back)| (list.len() + room).checked_sub(back));
        text.push('/');
        match from_end {
            Some(index) => text.push_str(&index.to_string()),
            None => text.push_str(token.encoded()),
        }
        at = value.pointer(&text);
    }
    PointerBuf::parse(text).unwrap_or_else(|_| path.to_owned())
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
        assert_eq!(refused.code, 422);
        assert_eq!(refused.message, "the server rejected our request due to an error in our request");
    }

    #[test]
    fn the_dialect_of_kubernetes_is_understood() {
        let value = json!({ "list": [1, 2, 3], "map": {} });
        for (operation, expected) in [
            (json!({ "op": "add", "path": "/list/-1", "value": 9 }), json!({ "list": [1, 2, 3, 9], "map": {} })),
            (json!({ "op": "add", "path": "/list/-4", "value": 9 }), json!({ "list": [9, 1, 2, 3], "map": {} })),
            (json!({ "op": "remove", "path": "/list/-1" }), json!({ "list": [1, 2], "map": {} })),
            (
                json!({ "op": "copy", "from": "/list/-1", "path": "/map/a" }),
                json!({ "list": [1, 2, 3], "map": {"a": 3} }),
            ),
            (json!({ "op": "replace", "path": "/map/a", "value": 1 }), json!({ "list": [1, 2, 3], "map": { "a": 1 } })),
            (json!({ "op": "test", "path": "/map/none", "value": null }), value.clone()),
        ] {
            assert_eq!(run(value.clone(), json!([operation])).expect("applied"), expected, "{operation}");
        }
        for operation in [
            json!({ "op": "remove", "path": "/map/none" }),
            json!({ "op": "remove", "path": "/list/-4" }),
            json!({ "op": "add", "path": "/none/a", "value": 1 }),
            json!({ "op": "replace", "path": "/list/3", "value": 1 }),
            json!({ "op": "test", "path": "/list/0", "value": 2 }),
        ] {
            assert_eq!(run(value.clone(), json!([operation])).expect_err("refused").code, 422, "{operation}");
        }
        let (_, problems) = read(br#"[{"op":"remove","path":"/a","x":1}]"#).expect("a patch");
        assert_eq!(problems, ["json patch unknown field \"[0].x\""]);
        let refused = read(b"{}").expect_err("no list");
        assert!(refused.message.ends_with("into Go value of type []handlers.jsonPatchOp"), "{refused}");
    }

    #[test]
    fn an_index_from_the_end_may_stand_within_a_path() {
        let value = json!({"containers": [{"image": "a"}, {"image": "b"}]});
        let path = PointerBuf::parse("/containers/-1/image").expect("a pointer");
        assert_eq!(counted(&value, &path, 0).as_str(), "/containers/1/image");
        let beyond = PointerBuf::parse("/containers/-3/image").expect("a pointer");
        assert_eq!(counted(&value, &beyond, 0).as_str(), "/containers/-3/image");
    }
}
