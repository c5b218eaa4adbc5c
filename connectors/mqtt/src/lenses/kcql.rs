//! Lenses' query language, as far as its MQTT connectors mean what ours do.
//!
//! `INSERT INTO target SELECT * FROM source`, with `WITHCONVERTER` and `WITHTARGET` behind it. Everything else is refused
//! with the reason. Pure. Read next: `mod.rs`.

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Statement {
    pub(super) target: String,
    pub(super) source: String,
    pub(super) converter: Option<String>,
    pub(super) target_field: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// A name or a keyword.
    Word(String),
    /// A name for certain.
    Quoted(String),
    Sign(char),
}

/// The statements of a text, separated by semicolons.
pub(super) fn parse(text: &str) -> Result<Vec<Statement>, String> {
    let tokens = tokens(text)?;
    let statements = tokens.split(|token| *token == Token::Sign(';')).filter(|tokens| !tokens.is_empty());
    let statements: Vec<Statement> = statements.map(statement).collect::<Result<_, _>>()?;
    if statements.is_empty() { Err("holds no statement".into()) } else { Ok(statements) }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '`' | '\'' | '"' => {
                let inner = &rest[1..];
                let end = inner.find(first).ok_or_else(|| format!("has a {first} without another behind it"))?;
                tokens.push(Token::Quoted(inner[..end].to_owned()));
                end + 2
            }
            ';' | '=' | '(' | ')' | ',' => {
                tokens.push(Token::Sign(first));
                1
            }
            _ => {
                let is_end = |char: char| char.is_whitespace() || ";=(),`'\"".contains(char);
                let end = rest.find(is_end).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..end].to_owned()));
                end
            }
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

fn statement(tokens: &[Token]) -> Result<Statement, String> {
    let mut rest = tokens.iter();
    keyword(&mut rest, "INSERT")?;
    keyword(&mut rest, "INTO")?;
    let target = name(&mut rest)?;
    keyword(&mut rest, "SELECT")?;
    let all = matches!(rest.next(), Some(Token::Word(all)) if all == "*");
    if !all || keyword(&mut rest, "FROM").is_err() {
        return Err(format!("selects something else than *, which is for a transformation to do: {FORM}"));
    }
    let mut statement = Statement { target, source: name(&mut rest)?, ..Statement::default() };
    while let Some(token) = rest.next() {
        let place = match token {
            Token::Word(word) if word.eq_ignore_ascii_case("WITHCONVERTER") => &mut statement.converter,
            Token::Word(word) if word.eq_ignore_ascii_case("WITHTARGET") => &mut statement.target_field,
            other => return Err(format!("has {}, which has no counterpart here: {FORM}", shown(Some(other)))),
        };
        match rest.next() {
            Some(Token::Sign('=')) => *place = Some(name(&mut rest)?),
            other => return Err(format!("has {} where = is expected", shown(other))),
        }
    }
    Ok(statement)
}

fn keyword<'a>(tokens: &mut impl Iterator<Item = &'a Token>, wanted: &str) -> Result<(), String> {
    match tokens.next() {
        Some(Token::Word(word)) if word.eq_ignore_ascii_case(wanted) => Ok(()),
        other => Err(format!("has {} where {wanted} is expected: {FORM}", shown(other))),
    }
}

const FORM: &str = "known is INSERT INTO target SELECT * FROM source [WITHCONVERTER=`class`] [WITHTARGET=field]";

fn name<'a>(tokens: &mut impl Iterator<Item = &'a Token>) -> Result<String, String> {
    match tokens.next() {
        Some(Token::Word(name) | Token::Quoted(name)) if !name.is_empty() => Ok(name.clone()),
        other => Err(format!("has {} where a name is expected: {FORM}", shown(other))),
    }
}

fn shown(token: Option<&Token>) -> String {
    match token {
        None => "its end".into(),
        Some(Token::Word(text) | Token::Quoted(text)) => format!("'{text}'"),
        Some(Token::Sign(sign)) => format!("'{sign}'"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn simple_statements_are_read() {
        let text = "INSERT INTO lab SELECT * FROM /lab/+/temp; insert into `b` select * from '$share/g/b/#' \
                    WITHCONVERTER=`a.b.C` WITHTARGET = x.y ;";
        let second = Statement {
            target: "b".into(),
            source: "$share/g/b/#".into(),
            converter: Some("a.b.C".into()),
            target_field: Some("x.y".into()),
        };
        let first = Statement { target: "lab".into(), source: "/lab/+/temp".into(), ..Statement::default() };
        assert_eq!(parse(text), Ok(vec![first, second]));
    }

    #[test]
    fn what_means_something_else_is_refused_with_the_reason() {
        for (text, reason) in [
            (" ; ", "no statement"),
            ("UPSERT INTO a SELECT * FROM b", "'UPSERT' where INSERT is expected"),
            ("INSERT INTO a SELECT x, y FROM b", "selects something else than *"),
            ("INSERT INTO a SELECT * FROM b WITHKEY(id)", "'WITHKEY', which has no counterpart"),
            ("INSERT INTO a SELECT * FROM b PROPERTIES('x'='y')", "'PROPERTIES', which has no counterpart"),
            ("INSERT INTO a SELECT * FROM b WITHCONVERTER x", "'x' where = is expected"),
            ("INSERT INTO a SELECT * FROM", "its end where a name is expected"),
            ("INSERT INTO `a SELECT * FROM b", "has a ` without another"),
            ("INSERT INTO", "its end where a name is expected"),
        ] {
            assert!(parse(text).unwrap_err().contains(reason), "{text}: {:?}", parse(text));
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_much(text in "[a-zA-Z`'\"*;=(), é]{0,60}") {
            let _ = parse(&text);
        }
    }
}
