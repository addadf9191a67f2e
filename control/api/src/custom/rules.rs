//! `x-kubernetes-validations`: rules in the Common Expression Language, read and checked with the definition, judged with
//! each write.
//!
//! Wording: `k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel`.

use serde_json::Value;

use super::check::{by_key, key_text};
use super::schema::{ListType, Schema};
use crate::cel::{self, Budget, Fault, Known, Mistake, Program, cost};
use crate::field::{Errors, FieldError, FieldReason};
use crate::json;

/// Rules of one schema at most: each is parsed when the definition is, and evaluated with each write.
const RULES_MAX: usize = 100;

const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// One rule.
#[derive(Debug)]
pub(crate) struct Rule {
    text: String,
    program: Result<Program, String>,
    message: String,
    message_text: String,
    message_program: Option<Result<Program, String>>,
    reason: String,
    field_path: String,
    /// Whether `oldSelf` is there also when there is no old value, as an optional.
    optional_old: bool,
}

impl Rule {
    /// Reads a rule; None for one that is no rule.
    pub(crate) fn read(value: &Value) -> Option<Self> {
        let text = |key: &str| json::text(value, &[key]).trim().to_owned();
        let (rule, message_rule) = (text("rule"), text("messageExpression"));
        (!rule.is_empty()).then(|| Self {
            program: Program::parse(&rule),
            text: rule,
            message: text("message"),
            message_program: (!message_rule.is_empty()).then(|| Program::parse(&message_rule)),
            message_text: message_rule,
            reason: text("reason"),
            field_path: text("fieldPath"),
            optional_old: json::flag(value, &["optionalOldSelf"]),
        })
    }

    /// Whether it compares with what was there.
    fn is_transition(&self) -> bool {
        self.program.as_ref().is_ok_and(|program| program.names("oldSelf"))
    }

    /// How messages about its evaluation call it.
    fn name(&self) -> &str {
        if self.message.is_empty() { &self.text } else { &self.message }
    }
}

/// Checks what a schema says of its rules, besides the expressions.
pub(crate) fn validate(schema: &Value, path: &str, errors: &mut Errors) {
    let rules = json::items(schema, &["x-kubernetes-validations"]);
    if rules.len() > RULES_MAX {
        errors.too_many(format!("{path}.x-kubernetes-validations"), rules.len(), RULES_MAX);
    }
    for (index, rule) in rules.iter().enumerate() {
        let field = |key: &str| format!("{path}.x-kubernetes-validations[{index}].{key}");
        let text = |key: &str| json::text(rule, &[key]);
        if text("rule").trim().is_empty() {
            errors.required(field("rule"), "rule is not specified");
        }
        if !text("message").is_empty() && text("message").trim().is_empty() {
            errors.invalid_str(field("message"), text("message"), "must be non-empty if specified");
        } else if text("message").trim().contains('\n') {
            errors.invalid_str(field("message"), text("message"), "must not contain line breaks");
        } else if text("message").is_empty() && text("rule").trim().contains('\n') {
            errors.required(field("message"), "message must be specified if rule contains line breaks");
        }
        if !text("messageExpression").is_empty() && text("messageExpression").trim().is_empty() {
            errors.required(field("messageExpression"), "messageExpression must be non-empty if specified");
        }
        if !text("reason").is_empty() && !REASONS.contains(&text("reason")) {
            errors.not_supported(field("reason"), text("reason"), &REASONS);
        }
        let at = text("fieldPath");
        if !at.is_empty() && super::path::Path::parse(at).ok().is_none_or(|path| path.names().is_none()) {
            errors.invalid_str(field("fieldPath"), at, "must be a valid path");
        }
    }
}

/// Tells what is wrong with the expressions of a schema and of all below it.
pub(crate) fn compile(_value: &Value, schema: &Schema, path: &str, errors: &mut Errors) {
    compile_below(schema, path, None, Some(1), errors);
}

/// `apart` is the list or map above whose members cannot be told from those of the old value; `places` is how many values
/// of this schema one object can hold, if the schema bounds that.
fn compile_below(schema: &Schema, path: &str, apart: Option<&str>, places: Option<u64>, errors: &mut Errors) {
    for (index, rule) in schema.rules.iter().enumerate() {
        let field = |key: &str| format!("{path}.x-kubernetes-validations[{index}].{key}");
        let variables = [
            ("self", Known::Schema(schema)),
            ("oldSelf", if rule.optional_old { Known::Anything } else { Known::Schema(schema) }),
        ];
        let judge = |program: &Result<Program, String>, wanted| match program {
            Ok(program) => program.check_is(wanted, &variables).err(),
            Err(why) => Some(Mistake::Compilation(why.clone())),
        };
        if let Some(mistake) = judge(&rule.program, "bool") {
            let why = match mistake {
                Mistake::Compilation(why) => format!("compilation failed: {}", cel::told(&rule.text, &why)),
                Mistake::Type(why) => why,
            };
            errors.invalid_str(field("rule"), &rule.text, &why);
        } else if let Some(apart) = apart.filter(|_| rule.is_transition()) {
            let why = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {apart}");
            errors.invalid_str(field("rule"), &rule.text, &why);
        } else if rule.optional_old && !rule.is_transition() {
            let why = "may not be set if oldSelf is not used in rule";
            errors.invalid(field("optionalOldSelf"), &true.into(), why);
        }
        let loops = rule.program.as_ref().map_or(1, |program| program.loops(&variables));
        let places = places.unwrap_or_else(|| cost::most_places(schema));
        if let Some(why) = cost::exceeds(loops.saturating_mul(places)) {
            errors.forbidden(field("rule"), &why);
        }
        if let Some(mistake) = rule.message_program.as_ref().and_then(|program| judge(program, "string")) {
            let why = match mistake {
                Mistake::Compilation(why) => {
                    format!("messageExpression compilation failed: {}", cel::told(&rule.message_text, &why))
                }
                Mistake::Type(why) => format!("messageExpression compilation failed: {why}"),
            };
            errors.invalid_str(field("messageExpression"), "", &why);
        }
    }
    let here = Some(path).filter(|_| schema.map_atomic);
    for (name, below) in &schema.properties {
        compile_below(below, &format!("{path}.properties[{name}]"), apart.or(here), places, errors);
    }
    // What has no bound of its own is bounded by the request, and so is all that is below it.
    let inside = |max: Option<u64>| Some(places?.saturating_mul(max?));
    if let Some(Some(below)) = &schema.additional {
        let places = inside(schema.counts.members_max);
        compile_below(below, &format!("{path}.additionalProperties"), apart.or(here), places, errors);
    }
    if let Some(below) = &schema.items {
        let here = Some(path).filter(|_| schema.list_type != Some(ListType::Map));
        compile_below(below, &format!("{path}.items"), apart.or(here), inside(schema.counts.items_max), errors);
    }
}

/// Checks `value` against all rules, unless what was found from the error `before` on says that it is not what rules are
/// made for: then that is told. What did not change is not judged anew.
pub(crate) fn check_sound(value: &Value, old: Option<&Value>, schema: &Schema, before: usize, errors: &mut Errors) {
    if !errors.from(before).iter().any(blocks) {
        let mut judging = Judging { budget: Budget::of_write(), errors };
        // What ended it stands among the errors.
        let _ended = judging.visit(value, old, schema, "");
    } else if schema.has_rules() {
        let why = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
        errors.invalid_str("<nil>", "null", why);
    }
}

fn blocks(error: &FieldError) -> bool {
    use FieldReason::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
    matches!(error.reason, NotSupported | Required | TooLong | TooMany | TypeInvalid)
}

/// No further rule is judged.
struct Ended;

struct Judging<'a> {
    budget: Budget,
    errors: &'a mut Errors,
}

impl Judging<'_> {
    fn visit(&mut self, value: &Value, old: Option<&Value>, schema: &Schema, path: &str) -> Result<(), Ended> {
        if old == Some(value) && schema.rules.iter().all(|rule| !rule.is_transition()) && !path.is_empty() {
            return Ok(());
        }
        if value.is_null() {
            return Ok(());
        }
        for rule in &schema.rules {
            self.judge(rule, value, old, schema, path)?;
        }
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    if let Some(below) = schema.member(name) {
                        let at = if path.is_empty() {
                            name.clone()
                        } else if schema.properties.contains_key(name) {
                            format!("{path}.{name}")
                        } else {
                            format!("{path}[{name}]")
                        };
                        self.visit(member, old.and_then(|old| old.get(name)), below, &at)?;
                    }
                }
            }
            Value::Array(items) => {
                let Some(below) = &schema.items else { return Ok(()) };
                let keyed = schema.list_type == Some(ListType::Map);
                let old = old.and_then(Value::as_array).filter(|_| keyed).map(|old| by_key(old, schema, below));
                for (index, item) in items.iter().enumerate() {
                    let before = old.as_ref().and_then(|old| old.get(&key_text(item, schema, below)).copied());
                    self.visit(item, before, below, &format!("{path}[{index}]"))?;
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        Ok(())
    }

    fn judge(
        &mut self,
        rule: &Rule,
        value: &Value,
        old: Option<&Value>,
        schema: &Schema,
        path: &str,
    ) -> Result<(), Ended> {
        let transition = rule.is_transition();
        if transition && !rule.optional_old && old.is_none() || !transition && old == Some(value) {
            return Ok(());
        }
        let Ok(program) = &rule.program else { return Ok(()) };
        let of = |value| cel::Value::of(value, Some(schema));
        let mut variables = vec![("self", of(value))];
        match old {
            _ if rule.optional_old => {
                variables.push(("oldSelf", cel::Value::Optional(old.map(|old| std::rc::Rc::new(of(old))))));
            }
            Some(old) => variables.push(("oldSelf", of(old))),
            None => {}
        }
        let at = format!("{path}{}", rule.field_path);
        let at = at.trim_start_matches('.');
        let at = if at.is_empty() { "<nil>" } else { at };
        let shown = schema.kind.map_or("", super::schema::Type::as_str);
        let why = match program.evaluate(&variables, &mut self.budget) {
            Ok(cel::Value::Bool(true)) => return Ok(()),
            Ok(_) => None,
            Err(Fault::WriteSpent) => {
                let why =
                    "validation failed due to running out of cost budget, no further validation rules will be run";
                self.errors.invalid_str(path, shown, why);
                return Err(Ended);
            }
            Err(Fault::CallSpent) => {
                let why = "'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule";
                self.errors.invalid_str(at, shown, &format!("{why}: {}", rule.name()));
                return Err(Ended);
            }
            Err(Fault::Error(why)) if why.starts_with("no such overload") => Some(format!(
                "'{why}': call arguments did not match a supported operator, function or macro signature for rule: {}",
                rule.name()
            )),
            Err(Fault::Error(why)) => Some(format!("{why} evaluating rule: {}", rule.name())),
        };
        match why {
            Some(why) => self.errors.invalid_str(at, shown, &why),
            None => self.refuse(rule, &variables, at, shown),
        }
        Ok(())
    }

    /// Tells that a rule does not hold, in its own words where it has some.
    fn refuse(&mut self, rule: &Rule, variables: &[cel::Binding<'_>], at: &str, shown: &str) {
        let said = match &rule.message_program {
            Some(Ok(program)) => match program.evaluate(variables, &mut self.budget) {
                Ok(cel::Value::Text(text)) if !text.trim().is_empty() && !text.contains('\n') => {
                    Some(text.trim().to_owned())
                }
                _ => None,
            },
            _ => None,
        };
        let own = Some(rule.message.clone()).filter(|message| !message.is_empty());
        let detail = said.or(own).unwrap_or_else(|| format!("failed rule: {}", rule.text));
        match rule.reason.as_str() {
            "FieldValueRequired" => self.errors.required(at, &detail),
            "FieldValueForbidden" => self.errors.forbidden(at, &detail),
            "FieldValueDuplicate" => {
                self.errors.push(at, FieldReason::Duplicate, format!("Duplicate value: {shown:?}"));
            }
            _ => self.errors.invalid_str(at, shown, &detail),
        }
    }
}
