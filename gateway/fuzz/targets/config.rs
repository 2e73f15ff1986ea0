//! Any text as a configuration file: the first byte chooses the syntax. What is understood, and nothing else, is written and understood
//! again.

use containerssh_config::{Config, Syntax};

pub fn run(data: &[u8]) {
    let Some((syntax, rest)) = data.split_first() else { return };
    let syntax = if syntax % 2 == 0 { Syntax::Yaml } else { Syntax::Json };
    let text = String::from_utf8_lossy(rest);
    match Config::parse_with_warnings(&text, "config", syntax) {
        Ok((config, warnings)) => {
            for warning in warnings {
                shown(&warning.message);
            }
            let yaml = config.to_yaml().expect("every value has a form in YAML");
            let again = Config::parse(&yaml, "again", Syntax::Yaml);
            let again = again.unwrap_or_else(|error| panic!("{error}\n{yaml}"));
            assert!(again == config, "it says something else:\n{yaml}");
            config.dump().expect("every value has a form in YAML");
        }
        Err(error) => shown(&error.to_string()),
    }
}

/// An error is for a terminal: lines of text, none of them blank.
fn shown(text: &str) {
    assert!(!text.trim().is_empty(), "it says nothing");
    let odd = text.chars().find(|character| character.is_control() && *character != '\n');
    assert!(odd.is_none(), "{odd:?} in {text:?}");
}
