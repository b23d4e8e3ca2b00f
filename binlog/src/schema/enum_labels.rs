//! The labels of an ENUM or SET, out of its type as the server writes it.

/// The labels in order; empty if this is no such type.
#[must_use]
pub fn of_type(column_type: &str) -> Vec<String> {
    let Some((_, inner)) = column_type.split_once('(') else {
        return Vec::new();
    };
    let mut labels = Vec::new();
    let mut letters = inner.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '\'' {
            continue;
        }
        let mut label = String::new();
        while let Some(letter) = letters.next() {
            match letter {
                // `information_schema` writes a backslash as it is, and a quote twice.
                '\'' if letters.peek() == Some(&'\'') => {
                    letters.next();
                    label.push('\'');
                }
                '\'' => break,
                other => label.push(other),
            }
        }
        labels.push(label);
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_may_hold_commas_quotes_and_parentheses() {
        assert_eq!(
            of_type("enum('a,b','it''s',')','')"),
            ["a,b", "it's", ")", ""]
        );
        assert!(of_type("int").is_empty());
    }
}
