//! The reference of all keys as Markdown, from the JSON schema and with it from the types' own documentation.

use std::fmt::Write as _;

use serde_json::Value;

/// Every key with type, default and meaning: a table per section.
#[must_use]
pub fn markdown() -> String {
    let schema = crate::Config::json_schema();
    let mut page = Page { schema: &schema, text: String::new() };
    let sections = schema.pointer("/properties").and_then(Value::as_object);
    let (mut single, mut tables) = (Vec::new(), Vec::new());
    for (name, section) in sections.into_iter().flatten() {
        let resolved = page.resolve(section);
        match resolved.get("properties") {
            Some(_) => tables.push((name, resolved)),
            None => single.push((name, section)),
        }
    }
    for (name, section) in single {
        let _ = write!(page.text, "\n## `{name}`\n\n");
        page.head();
        page.row(name, section);
    }
    for (name, section) in tables {
        let _ = write!(page.text, "\n## `{name}`\n\n{}\n\n", described(section));
        page.head();
        page.rows(name, section);
    }
    page.text
}

struct Page<'a> {
    schema: &'a Value,
    text: String,
}

impl<'a> Page<'a> {
    fn head(&mut self) {
        self.text.push_str("| Key | Type | Default | Meaning |\n|---|---|---|---|\n");
    }

    /// What a schema refers to, or itself.
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let reference =
            schema.get("$ref").or_else(|| schema.pointer("/anyOf/0/$ref")).and_then(Value::as_str);
        reference
            .and_then(|reference| self.schema.pointer(reference.trim_start_matches('#')))
            .unwrap_or(schema)
    }

    fn rows(&mut self, path: &str, section: &'a Value) {
        for (name, property) in section.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let path = format!("{path}.{name}");
            let resolved = self.resolve(property);
            if resolved.get("properties").is_some() {
                self.rows(&path, resolved);
                continue;
            }
            let item = property.get("items").map(|items| self.resolve(items));
            self.row(&path, property);
            if let Some(item) = item.filter(|item| item.get("properties").is_some()) {
                self.rows(&format!("{path}[]"), item);
            }
        }
    }

    fn row(&mut self, path: &str, property: &Value) {
        let default = match property.get("default") {
            None | Some(Value::Null) => String::new(),
            Some(Value::Array(list)) if list.is_empty() => "none".to_owned(),
            Some(Value::Object(map)) if map.is_empty() => "none".to_owned(),
            Some(Value::String(text)) if text.is_empty() => "empty".to_owned(),
            Some(Value::String(text)) => code(text),
            // A pod's whole default is an example, not a cell.
            Some(value) => Some(value.to_string())
                .filter(|text| text.len() <= 200)
                .map_or_else(|| "see below".to_owned(), |text| code(&text)),
        };
        let _ =
            writeln!(self.text, "| `{path}` | {} | {default} | {} |", kind(property), described(property));
    }
}

/// A property's type in a word or two.
fn kind(property: &Value) -> String {
    if let Some(words) = property.get("enum").and_then(Value::as_array) {
        let words: Vec<String> = words
            .iter()
            .map(|word| {
                code(&word.as_str().map_or_else(
                    || word.to_string(),
                    |word| if word.is_empty() { "\"\"".to_owned() } else { word.to_owned() },
                ))
            })
            .collect();
        return words.join(", ");
    }
    let names = match property.get("type") {
        Some(Value::String(name)) => vec![name.as_str()],
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect()
        }
        _ => match property.get("anyOf").and_then(Value::as_array) {
            Some(ways) => {
                return ways.iter().map(kind).filter(|kind| kind != "null").collect::<Vec<_>>().join(" or ");
            }
            None => vec!["object"],
        },
    };
    let one = |name: &str| match (name, property.get("items")) {
        ("array", Some(items)) => format!("list of {}", kind(items)),
        ("object", _) => "mapping".to_owned(),
        ("boolean", _) => "true or false".to_owned(),
        (other, _) => other.to_owned(),
    };
    let kinds: Vec<String> = names.into_iter().map(one).collect();
    match property.pointer("/examples/0").and_then(Value::as_str) {
        Some(example) => format!("{}, like {}", kinds.join(" or "), code(example)),
        None => kinds.join(" or "),
    }
}

fn described(schema: &Value) -> String {
    let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn code(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|"))
}
