//! `wk explain`: what a kind's fields mean, as the server's OpenAPI document tells.

use serde_json::Value;

use crate::args::ExplainArgs;
use crate::client::{Client, JSON, Resource};
use crate::discovery::{Kinds, nearest};
use crate::exit::{Code, ExitError};
use crate::render::Ui;

/// Width text is wrapped to.
const WIDTH: usize = 80;

/// Deepest nesting printed by `--recursive`: schemas may contain themselves.
const DEPTH_MAX: usize = 12;

/// The schemas of a group version.
struct Document(Value);

/// Prints the explanation.
pub(super) async fn run(client: &Client, args: &ExplainArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let kinds = Kinds::discover(client).await?;
    let (resource, fields) = split(&kinds, args)?;
    let document = fetch(client, &resource).await?;
    let mut schema = document.of(&resource).ok_or_else(|| {
        ExitError::new(
            Code::NotFound,
            format!("the server does not describe {} in {}", resource.kind, resource.api_version()),
        )
    })?;
    let mut description = text(schema, "description").to_owned();
    for (at, field) in fields.iter().enumerate() {
        let fields_here = document.fields(schema);
        let Some(inner) = fields_here.and_then(|known| known.get(field)) else {
            let known: Vec<&str> = fields_here.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            let before = [std::slice::from_ref(&resource.singular), &fields[..at]].concat().join(".");
            let hint = match nearest(field, known.iter().copied()) {
                Some(near) => format!("did you mean {near:?}?"),
                None if known.is_empty() => "it has no fields".to_owned(),
                None => format!("it has {}", known.join(", ")),
            };
            return Err(ExitError::new(Code::NotFound, format!("{before} has no field {field:?}; {hint}")).into());
        };
        text(inner, "description").clone_into(&mut description);
        schema = inner;
        if description.is_empty() {
            text(document.resolve(inner), "description").clone_into(&mut description);
        }
    }
    if !resource.group.is_empty() {
        ui.line(&format!("GROUP:      {}", resource.group))?;
    }
    ui.line(&format!("KIND:       {}\nVERSION:    {}\n", resource.kind, resource.version))?;
    if let Some(field) = fields.last() {
        ui.line(&format!("FIELD: {field} <{}>\n", document.type_of(schema)))?;
    }
    ui.line("DESCRIPTION:")?;
    ui.data(wrapped(if description.is_empty() { "<empty>" } else { &description }, 4).as_bytes())?;
    let enums: Vec<String> = array(schema, "enum").map(crate::render::jsonpath::shown).collect();
    if !enums.is_empty() {
        ui.line(&format!("\nONE OF: {}", enums.join(", ")))?;
    }
    if document.fields(schema).is_some() {
        ui.line("\nFIELDS:")?;
        let mut out = String::new();
        if args.recursive {
            document.names(document.element(schema), &mut Vec::new(), &mut out);
        } else {
            document.told(schema, &mut out);
        }
        ui.data(out.as_bytes())?;
    }
    Ok(())
}

/// The kind, and the way from it.
fn split(kinds: &Kinds, args: &ExplainArgs) -> Result<(Resource, Vec<String>), anyhow::Error> {
    let mut words = args.path.split('.').filter(|word| !word.is_empty());
    let kind = words.next().unwrap_or_default();
    let mut rest: Vec<String> = words.map(str::to_owned).collect();
    // `deployments.apps.spec`: the group is part of the kind's name if the whole names one.
    let mut found = kinds.find(kind)?.clone();
    for taken in (1..=rest.len()).rev() {
        if let Ok(with_group) = kinds.find(&format!("{kind}.{}", rest[..taken].join("."))) {
            found = with_group.clone();
            rest.drain(..taken);
            break;
        }
    }
    if let Some(version) = &args.api_version {
        let other =
            kinds.all().iter().find(|resource| resource.kind == found.kind && resource.api_version() == *version);
        found = other.cloned().ok_or_else(|| {
            let known = kinds.versions_of(&found.kind).join(", ");
            ExitError::new(Code::NotFound, format!("there is no {} in {version}, but in {known}", found.kind))
        })?;
    }
    Ok((found, rest))
}

async fn fetch(client: &Client, resource: &Resource) -> anyhow::Result<Document> {
    let index = client.get("/openapi/v3", JSON).await?;
    let root = if resource.group.is_empty() { "api" } else { "apis" };
    let key = format!("{root}/{}", resource.api_version());
    let address =
        index.pointer(&format!("/paths/{}/serverRelativeURL", key.replace('/', "~1"))).and_then(Value::as_str);
    let Some(address) = address.filter(|address| address.starts_with('/')) else {
        return Err(ExitError::new(
            Code::NotFound,
            format!("the server has no description of {}", resource.api_version()),
        )
        .into());
    };
    client.get(address, JSON).await.map(Document)
}

impl Document {
    fn schemas(&self) -> impl Iterator<Item = &Value> {
        self.0.pointer("/components/schemas").and_then(Value::as_object).into_iter().flat_map(serde_json::Map::values)
    }

    /// The schema of a kind.
    fn of(&self, resource: &Resource) -> Option<&Value> {
        let is = |one: &Value| {
            text(one, "group") == resource.group
                && text(one, "version") == resource.version
                && text(one, "kind") == resource.kind
        };
        self.schemas().find(|schema| array(schema, "x-kubernetes-group-version-kind").any(is))
    }

    /// The schema a reference leads to. References of references are followed a few times only.
    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let mut schema = schema;
        for _ in 0..DEPTH_MAX {
            let first = schema.pointer("/allOf/0").filter(|_| schema.get("properties").is_none());
            let reference =
                schema.get("$ref").or_else(|| first.and_then(|first| first.get("$ref"))).and_then(Value::as_str);
            let Some(name) = reference.and_then(|reference| reference.strip_prefix("#/components/schemas/")) else {
                break;
            };
            let Some(found) = self.0.pointer("/components/schemas").and_then(|schemas| schemas.get(name)) else {
                break;
            };
            schema = found;
        }
        schema
    }

    /// The fields of an object, or of the objects in a list or map.
    fn fields<'a>(&'a self, schema: &'a Value) -> Option<&'a serde_json::Map<String, Value>> {
        self.element(schema).get("properties").and_then(Value::as_object)
    }

    /// `[]Container`, `map[string]string`, `integer`.
    fn type_of(&self, schema: &Value) -> String {
        let resolved = self.resolve(schema);
        if let Some(items) = resolved.get("items") {
            return format!("[]{}", self.type_of(items));
        }
        if let Some(values) = resolved.get("additionalProperties").filter(|values| values.is_object()) {
            return format!("map[string]{}", self.type_of(values));
        }
        let reference = schema.get("$ref").or_else(|| schema.pointer("/allOf/0/$ref")).and_then(Value::as_str);
        if let Some(name) = reference.and_then(|reference| reference.rsplit(['.', '/']).next()) {
            return name.to_owned();
        }
        match text(resolved, "type") {
            "" | "object" => "Object".to_owned(),
            plain => plain.to_owned(),
        }
    }

    /// Every field with its description.
    fn told(&self, schema: &Value, out: &mut String) {
        let required = self.required(schema);
        for (name, field) in self.fields(schema).into_iter().flatten() {
            let mark = if required.contains(&name.as_str()) { " -required-" } else { "" };
            out.extend(["  ", name, "\t<", &self.type_of(field), ">", mark, "\n"]);
            let own = text(field, "description");
            let description = if own.is_empty() { text(self.resolve(field), "description") } else { own };
            out.push_str(&wrapped(if description.is_empty() { "<no description>" } else { description }, 4));
            out.push('\n');
        }
    }

    /// Every field below, by its name. A schema within itself is not followed again.
    fn names<'a>(&'a self, schema: &'a Value, above: &mut Vec<&'a Value>, out: &mut String) {
        let Some(fields) = self.fields(schema) else { return };
        let own = self.resolve(schema);
        if above.len() == DEPTH_MAX || above.iter().any(|known| std::ptr::eq(*known, own)) {
            return;
        }
        above.push(own);
        for (name, field) in fields {
            out.extend([&"  ".repeat(above.len()), name, "\t<", &self.type_of(field), ">\n"]);
            self.names(self.element(field), above, out);
        }
        above.pop();
    }

    /// What a list or a map holds; anything else itself.
    fn element<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let mut schema = self.resolve(schema);
        for _ in 0..DEPTH_MAX {
            match schema.get("items").or_else(|| schema.get("additionalProperties").filter(|more| more.is_object())) {
                Some(inner) if schema.get("properties").is_none() => schema = self.resolve(inner),
                _ => break,
            }
        }
        schema
    }

    fn required<'a>(&'a self, schema: &'a Value) -> Vec<&'a str> {
        array(self.resolve(schema), "required").filter_map(Value::as_str).collect()
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn array<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// The text in lines of at most `WIDTH` characters, indented.
fn wrapped(text: &str, indent: usize) -> String {
    let mut out = String::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && indent + line.len() + 1 + word.len() > WIDTH {
                out.extend([" ".repeat(indent).as_str(), &line, "\n"]);
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        out.push_str(format!("{}{line}", " ".repeat(indent)).trim_end());
        out.push('\n');
    }
    out
}
