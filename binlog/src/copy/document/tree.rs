//! A document's text as a tree: where each value stands, and how a path names it.
//!
//! The text is MySQL's own, so this is no general reader: what it does not know it refuses.

/// How deep values may be nested: MySQL's own limit.
const DEPTH_MAX: usize = 100;

/// What a value is by its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Object,
    Array,
    /// Anything else, from here to there in the text.
    Scalar {
        from: usize,
        to: usize,
    },
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) shape: Shape,
    /// As `JSON_SET` takes it.
    pub(super) path: String,
    children: Vec<usize>,
}

/// A document's values.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

/// The text is not one that MySQL writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Whose values are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Objects,
    Arrays,
}

impl Tree {
    pub(super) fn read(text: &str) -> Result<Self, Malformed> {
        let mut reader = Reader {
            text,
            at: 0,
            nodes: Vec::new(),
        };
        reader.value("$".to_owned(), 0)?;
        if reader.at != text.len() {
            return Err(Malformed);
        }
        Ok(Self {
            nodes: reader.nodes,
        })
    }

    pub(super) fn root(&self) -> Result<&Node, Malformed> {
        self.nodes.first().ok_or(Malformed)
    }

    /// All values of objects (`$**.*`) or of arrays (`$**[*]`) in the order in which the server
    /// lists them: the values right in one, then those inside of them.
    pub(super) fn list(&self, of: Of) -> Vec<&Node> {
        let mut listed = Vec::new();
        let mut waiting = vec![0];
        while let Some(node) = waiting.pop().and_then(|index| self.nodes.get(index)) {
            let is_meant = match (node.shape, of) {
                (Shape::Object, Of::Objects) | (Shape::Array, Of::Arrays) => true,
                (Shape::Object | Shape::Array | Shape::Scalar { .. }, _) => false,
            };
            if is_meant {
                let children = node.children.iter();
                listed.extend(children.filter_map(|child| self.nodes.get(*child)));
            }
            waiting.extend(node.children.iter().rev());
        }
        listed
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    nodes: Vec<Node>,
}

impl Reader<'_> {
    /// Reads the value here; gives its number.
    fn value(&mut self, path: String, depth: usize) -> Result<usize, Malformed> {
        if depth > DEPTH_MAX {
            return Err(Malformed);
        }
        let number = self.nodes.len();
        let shape = match self.peek().ok_or(Malformed)? {
            b'{' => Shape::Object,
            b'[' => Shape::Array,
            _scalar => self.scalar()?,
        };
        self.nodes.push(Node {
            shape,
            path,
            children: Vec::new(),
        });
        match shape {
            Shape::Object => self.inside(number, depth, b'}')?,
            Shape::Array => self.inside(number, depth, b']')?,
            Shape::Scalar { .. } => {}
        }
        Ok(number)
    }

    /// The values of the object or array that begins here.
    fn inside(&mut self, number: usize, depth: usize, end: u8) -> Result<(), Malformed> {
        self.at += 1;
        let mut count = 0_usize;
        loop {
            if self.peek() == Some(end) && count == 0 {
                break;
            }
            let parent = self.nodes.get(number).ok_or(Malformed)?;
            let path = if end == b'}' {
                let parent = parent.path.clone();
                let key = self.string()?;
                let key = self.text.get(key).ok_or(Malformed)?;
                self.skip(b": ")?;
                format!("{parent}.{key}")
            } else {
                format!("{}[{count}]", parent.path)
            };
            let child = self.value(path, depth + 1)?;
            let parent = self.nodes.get_mut(number).ok_or(Malformed)?;
            parent.children.push(child);
            count += 1;
            if self.peek() == Some(end) {
                break;
            }
            self.skip(b", ")?;
        }
        self.at += 1;
        Ok(())
    }

    fn scalar(&mut self) -> Result<Shape, Malformed> {
        let from = self.at;
        if self.peek() == Some(b'"') {
            let found = self.string()?;
            return Ok(Shape::Scalar {
                from: found.start,
                to: found.end,
            });
        }
        while self
            .peek()
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
        {
            self.at += 1;
        }
        let to = self.at;
        if from == to {
            return Err(Malformed);
        }
        Ok(Shape::Scalar { from, to })
    }

    /// A string with its quotes.
    fn string(&mut self) -> Result<std::ops::Range<usize>, Malformed> {
        let start = self.at;
        self.skip(b"\"")?;
        loop {
            match self.peek().ok_or(Malformed)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _other => self.at += 1,
            }
        }
        self.at += 1;
        Ok(start..self.at)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip(&mut self, expected: &[u8]) -> Result<(), Malformed> {
        let end = self.at + expected.len();
        if self.text.as_bytes().get(self.at..end) != Some(expected) {
            return Err(Malformed);
        }
        self.at = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str, of: Of) -> Vec<String> {
        let tree = Tree::read(text).unwrap();
        let listed = tree.list(of);
        listed.iter().map(|node| node.path.clone()).collect()
    }

    #[test]
    fn values_are_listed_in_the_order_of_the_server() {
        let text =
            r#"{"a": [[1, [2, {"b": []}]], {"c": {}}, []], "b": {"": 3, "z": 1, "a.b\"c": 4}}"#;
        assert_eq!(
            paths(text, Of::Objects),
            [
                r#"$."a""#,
                r#"$."b""#,
                r#"$."a"[0][1][1]."b""#,
                r#"$."a"[1]."c""#,
                r#"$."b"."""#,
                r#"$."b"."z""#,
                r#"$."b"."a.b\"c""#
            ]
        );
        assert_eq!(
            paths(text, Of::Arrays),
            [
                r#"$."a"[0]"#,
                r#"$."a"[1]"#,
                r#"$."a"[2]"#,
                r#"$."a"[0][0]"#,
                r#"$."a"[0][1]"#,
                r#"$."a"[0][1][0]"#,
                r#"$."a"[0][1][1]"#
            ]
        );
        assert_eq!(paths("5", Of::Arrays), Vec::<String>::new());
    }

    #[test]
    fn what_no_server_writes_is_refused() {
        let deep = "[".repeat(200);
        for text in [
            "",
            "{",
            "[1,2]",
            "[1, ]",
            "{\"a\":1}",
            "\"a",
            "\"\\",
            "1 ",
            &deep,
        ] {
            assert!(Tree::read(text).is_err(), "{text}");
        }
    }
}
