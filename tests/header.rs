//! Beside every pointer in the header stands who owns it, in one of four phrases.
//!
//! Contract rule 15. `scripts/test-header` compiles the header and compares its functions with the library's.

use std::fmt::Write;

/// One declaration and the comment over it.
struct Item {
    doc: String,
    code: String,
}

/// Everything that is declared: functions, types of callbacks, and the fields of structs.
fn items(header: &str) -> Vec<Item> {
    let mut items = Vec::new();
    let (mut doc, mut code) = (String::new(), String::new());
    let (mut in_doc, mut in_comment) = (false, false);
    for line in header.lines().map(str::trim) {
        if !in_doc && !in_comment && line.starts_with("/**") {
            doc.clear();
            in_doc = true;
        } else if !in_doc && line.starts_with("/*") {
            in_comment = true;
        }
        if in_doc || in_comment {
            if in_doc {
                doc += line.trim_start_matches(['/', '*']).trim_end_matches("*/").trim();
                doc.push(' ');
            }
            if line.ends_with("*/") {
                (in_doc, in_comment) = (false, false);
            }
            continue;
        }
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        code += line;
        code.push(' ');
        // A struct's own comment belongs to no pointer; its fields have their own.
        if line.ends_with('{') {
            code.clear();
        } else if line.ends_with(';') {
            items.push(Item { doc: std::mem::take(&mut doc), code: std::mem::take(&mut code).trim().to_owned() });
        }
    }
    items
}

/// The pointers of a declaration: names of parameters or of the field, and "The result" for what is returned.
fn pointers(code: &str) -> Vec<String> {
    let last_word = |text: &str| {
        let word: String = text.chars().rev().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        word.chars().rev().collect::<String>()
    };
    let (head, parameters) = match code.strip_suffix(");").and_then(|code| code.rsplit_once('(')) {
        Some(parts) => parts,
        None => {
            let field = code.trim_end_matches(';').split('[').next().unwrap_or_default();
            return if code.contains('*') { vec![last_word(field)] } else { Vec::new() };
        }
    };
    let callback = head.contains("(*");
    let mut found = Vec::new();
    if head.split("(*").next().is_some_and(|result| result.contains('*')) {
        found.push("The result".to_owned());
    }
    // The user pointer of a callback is the application's own and is never followed.
    found.extend(
        parameters.split(',').filter(|p| p.contains('*')).map(last_word).filter(|p| !(callback && p == "user")),
    );
    found
}

/// What the comment says of one thing: from `name:` or `a, name:` to the next such beginning.
fn said_of<'a>(doc: &'a str, name: &str) -> Option<&'a str> {
    let begins = |at: usize| {
        let before = &doc[..at];
        let after = &doc[at + name.len()..];
        let apart = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let list_goes_on =
            after.starts_with(", ") && after.split_once(':').is_some_and(|(list, _)| !list.contains('.'));
        let of_it = name == "The result" || after.starts_with("'s");
        apart && (after.starts_with(':') || list_goes_on || of_it)
    };
    let at = doc.match_indices(name).map(|(at, _)| at).find(|&at| begins(at))?;
    let rest = &doc[at..];
    // The next beginning is a sentence that starts with a lower-case word and a colon.
    let end = rest.match_indices(". ").map(|(end, _)| end).find(|&end| {
        let next = &rest[end + 2..];
        next.split_once(':').is_some_and(|(words, _)| {
            words.len() < 60
                && words.split(", ").all(|word| !word.is_empty() && word.chars().all(|c| c.is_lowercase() || c == '_'))
        })
    });
    Some(&rest[..end.unwrap_or(rest.len())])
}

fn has_phrase(text: &str) -> bool {
    let text = text.to_lowercase();
    let after = |phrase: &str| text.split_once(phrase).map(|(_, rest)| rest);
    text.contains("borrowed for the call")
        || text.contains("borrowed until the callback returns")
        || after("borrowed until ").is_some_and(|rest| {
            let until = rest.split(['.', ';', ',']).next().unwrap_or_default();
            ["is freed", "is released", "is called", "the process ends"].iter().any(|end| until.ends_with(end))
        })
        || text.contains("owned by the caller, release with redmux_")
}

#[test]
fn every_pointer_in_the_header_says_who_owns_it() {
    let header = std::fs::read_to_string("include/redmux.h").expect("include/redmux.h: make header");
    let mut missing = String::new();
    let mut count = 0;
    for Item { doc, code } in items(&header) {
        let field = !code.contains('(');
        for name in pointers(&code) {
            count += 1;
            // The comment over a field is about that field.
            let text = if field { Some(&doc[..]) } else { said_of(&doc, &name) };
            if !text.is_some_and(has_phrase) {
                let _ = writeln!(missing, "{name} in `{code}`");
            }
        }
    }
    assert!(missing.is_empty(), "no phrase of ownership:\n{missing}");
    assert!(count > 50, "only {count} pointers were found; the header's style has changed");
}

#[test]
fn the_check_itself_sees_pointers_and_phrases() {
    assert_eq!(
        pointers("int32_t redmux_a(redmux_client c, const uint8_t *data, size_t len, char **out);"),
        ["data", "out"]
    );
    assert_eq!(pointers("const char *redmux_b(int32_t status);"), ["The result"]);
    assert_eq!(pointers("typedef int32_t (*redmux_f)(void *user, const struct redmux_block *block);"), ["block"]);
    assert_eq!(pointers("const uint8_t *data;"), ["data"]);
    assert_eq!(pointers("uint64_t id;"), Vec::<String>::new());
    let doc = "Does it. data: any bytes. out, out_count: borrowed for the call. Any thread.";
    assert!(!has_phrase(said_of(doc, "data").unwrap()));
    assert!(has_phrase(said_of(doc, "out").unwrap()) && has_phrase(said_of(doc, "out_count").unwrap()));
    assert!(said_of(doc, "count").is_none());
}
