//! Expressions and what they come to.

use serde_json::json;

use super::*;
use crate::custom::schema::Schema;

fn run(text: &str, data: &serde_json::Value) -> Result<String, String> {
    let program = Program::parse(text)?;
    program.check(&[("self", Known::Anything)])?;
    let mut budget = Budget::of_write();
    match program.evaluate(&[("self", Value::of(data, None))], &mut budget) {
        Ok(value) => Ok(strings::shown(&value)),
        Err(Fault::Error(why)) => Err(why),
        Err(other) => Err(format!("{other:?}")),
    }
}

#[test]
fn expressions_come_to_what_the_language_says() {
    let data = json!({
        "replicas": 3, "name": "web-1", "on": true, "list": [1, 2, 3], "map": {"a": "x", "b": "y"},
        "items": [{"name": "a", "n": 1}, {"name": "b", "n": 2}], "ratio": 0.5, "dash-ed": 1, "namespace": "ns", "no": null,
    });
    for (text, expected) in [
        ("self.replicas > 2 && self.on", "true"),
        ("self.replicas * 2 + 1 == 7 ? 'yes' : 'no'", "yes"),
        ("has(self.missing) || self.name.startsWith('web')", "true"),
        ("self.list.all(x, x > 0) && self.list.exists(x, x == 2) && self.list.exists_one(x, x == 3)", "true"),
        ("self.items.filter(i, i.n > 1).map(i, i.name)", "[b]"),
        ("self.map.all(k, self.map[k] != '')", "true"),
        ("self.map.exists(k, v, k == 'a' && v == 'x')", "true"),
        ("size(self.list) + self.name.size()", "8"),
        ("self.name.matches('^[a-z]+-[0-9]$')", "true"),
        ("'b' in self.map && 2 in self.list && !(9 in self.list)", "true"),
        ("self.?missing.orValue('none')", "none"),
        ("self.list[?7].hasValue()", "false"),
        ("self.__namespace__ == 'ns' && self.dash__dash__ed == 1", "true"),
        ("duration('1h30m') > duration('1h') && timestamp('2025-01-02T00:00:00Z').getDate() == 2", "true"),
        (
            "timestamp('2025-01-01T00:00:00Z').getHours('Asia/Kolkata') == 5 && timestamp('2025-01-01T00:00:00Z').getHours('-02:00') == 22",
            "true",
        ),
        (
            "quantity('1Gi').isGreaterThan(quantity('500Mi')) && quantity('1500m').add(quantity('500m')).isInteger()",
            "true",
        ),
        ("cidr('10.0.0.0/8').containsIP('10.1.2.3') && ip('::1').isLoopback() && isIP('1.2.3.4')", "true"),
        ("url('https://a.b:80/c?d=e').getPort() == '80' && isURL('https://a.b')", "true"),
        ("'a,b'.split(',').join('-') + 'X'.lowerAscii() + '%d is %s'.format([1, 'one'])", "a-bx1 is one"),
        ("'abc'.substring(1) + 'abc'.replace('a', 'z') + string(1.5)", "bczbc1.5"),
        ("sets.contains([1, 2], [2]) && [3, 1].isSorted() == false && [1, 2].sum() == 3 && [4, 9].max() == 9", "true"),
        ("cel.bind(x, self.replicas, x + x)", "6"),
        ("type(1) == int && type('a') == string && dyn(1) == 1.0 && self.no == null", "true"),
        ("{'a': 1}.a == 1 && [1] + [2] == [1, 2] && -(-1) == 1 && 7 % 4 == 3", "true"),
        ("math.greatest(1, 5, 3) == 5 && optional.of(1).optMap(x, x + 1).value() == 2", "true"),
        ("r'\\d' == '\\\\d' && \"\\u0041\" == 'A' && 0x10 == 16 && 1e3 == 1000.0", "true"),
        ("self.missing == 1 || true", "true"),
        ("[1, 'a'].exists(x, x == 'a')", "true"),
    ] {
        assert_eq!(run(text, &data).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn what_makes_no_sense_is_an_error() {
    let data = json!({"a": 1, "list": []});
    for (text, expected) in [
        ("self.b", "no such key: b"),
        ("1 / 0", "division by zero"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("'a' + 1", "found no matching overload for '_+_' applied to '(string, int)'"),
        ("dyn('a') + 1", "no such overload"),
        ("1 && true", "found no matching overload for '_&&_' applied to '(int)'"),
        ("size(1) > 0", "found no matching overload for 'size'"),
        ("1 in 'abc'", "found no matching overload for '@in' applied to '(int, string)'"),
        ("self.list[0]", "index out of bounds: 0"),
        ("nobody == 1", "undeclared reference to 'nobody' (in container '')"),
        ("self.a.nothing()", "undeclared reference to 'nothing' (in container '')"),
        ("self.a ==", "Syntax error: mismatched input '<EOF>'"),
        ("self.a = 1", "token recognition error at: '= '"),
        ("self.a |", "token recognition error at: '|'"),
        ("self.a @ 1", "token recognition error at: '@'"),
        ("'open", "unterminated string literal"),
        ("timestamp('2025-01-01T00:00:00Z').getHours('Foo/Bar') == 1", "unknown time zone Foo/Bar"),
    ] {
        let found = run(text, &data).expect_err(text);
        assert!(found.contains(expected), "{text}: {found}");
    }
}

#[test]
fn hostile_expressions_end() {
    let many: Vec<i32> = (0..2_000).collect();
    let data = json!({"l": many});
    for text in [
        "self.l.all(a, self.l.all(b, self.l.all(c, a + b + c >= 0)))",
        "self.l.map(a, self.l.map(b, self.l)).size() > 0",
    ] {
        assert_eq!(run(text, &data), Err("CallSpent".to_owned()), "{text}");
    }
    for deep in [
        "(".repeat(5_000),
        "[".repeat(5_000),
        "!".repeat(5_000),
        "a.".repeat(5_000),
        "-".repeat(5_000),
        "1+".repeat(5_000),
    ] {
        assert!(run(&deep, &data).is_err());
    }
    assert!(run(&format!("{}1", "1+".repeat(7_000)), &data).is_err_and(|why| why.contains("recursion")));
}

#[test]
fn types_are_judged_where_they_are_known_and_nowhere_else() {
    let schema = Schema::read(&json!({"type": "object", "properties": {
        "count": {"type": "integer"}, "ratio": {"type": "number"}, "name": {"type": "string"},
        "any": {"x-kubernetes-int-or-string": true}, "maybe": {"type": "string", "nullable": true},
        "when": {"type": "string", "format": "date-time"},
        "list": {"type": "array", "items": {"type": "string"}},
    }}));
    let is_bool = |text: &str| Program::parse(text).expect(text).check_is("bool", &[("self", Known::Schema(&schema))]);
    for text in [
        "self.count > 0 && self.ratio > 0 && self.ratio <= 1.5",
        "self.any == 1 || self.any == '1'",
        "self.maybe == null || self.maybe != 'a'",
        "has(self.name) ? self.name.startsWith('a') : true",
        "self.list.all(x, x + 'a' != self.name) && 'a' in self.list",
        "self.?name.orValue('') == 'a'",
        "self.list.map(x, size(x)).exists(n, n > 1)",
        "timestamp(self.when) > timestamp('2025-01-01T00:00:00Z') || self.when == 'x'",
        "dyn(self.count) == 'a'",
    ] {
        assert!(is_bool(text).is_ok(), "{text}");
    }
    for text in ["self.count > 'a'", "self.count + 'a' == 'b'", "self.name && true", "self.list.all(x, size(x))"] {
        assert!(
            matches!(is_bool(text), Err(Mistake::Compilation(why)) if why.starts_with("found no matching")),
            "{text}"
        );
    }
    for text in ["self.count + 1", "self.name", "self.list.map(x, x)", "true ? 1 : 2"] {
        assert!(matches!(is_bool(text), Err(Mistake::Type(why)) if why == "must evaluate to bool"), "{text}");
    }
}

#[test]
fn the_place_of_a_mistake_is_marked() {
    let why = Program::parse("object.foo +").expect_err("open");
    let expected = "ERROR: <input>:1:13: Syntax error: mismatched input '<EOF>'\n | object.foo +\n | ............^";
    assert_eq!(told("object.foo +", &why), expected);
    assert_eq!(told("a.b", "undefined field 'b'"), "ERROR: <input>: undefined field 'b'\n | a.b");
}

#[test]
fn loops_are_counted_by_what_the_schema_allows() {
    let list = |max: Option<u64>, items: serde_json::Value| {
        let mut list = json!({"type": "array", "items": items});
        if let Some(max) = max {
            list["maxItems"] = json!(max);
        }
        list
    };
    let loops = |schema: &serde_json::Value, text: &str| {
        let schema = Schema::read(schema);
        Program::parse(text).expect(text).loops(&[("self", Known::Schema(&schema))])
    };
    let nested = |max| list(max, list(max, json!({"type": "string"})));
    assert_eq!(loops(&nested(Some(10)), "self.all(a, a.all(b, b != ''))"), 111);
    assert_eq!(loops(&nested(Some(10)), "self.all(a, size(a) > 0) && self.exists(a, a[0] == 'x')"), 21);
    let one = loops(&nested(None), "self.all(a, size(a) > 0)");
    assert!(one > 100_000 && cost::exceeds(one).is_none());
    let all = loops(&nested(None), "self.all(a, a.all(b, b != ''))");
    assert!(cost::exceeds(all).is_some_and(|why| why.contains("by factor of more than 100x")));
    assert_eq!(loops(&json!({"type": "object"}), "self == self"), 1);
}
