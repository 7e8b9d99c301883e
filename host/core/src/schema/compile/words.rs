//! The words of a schema, each with the shape that it must have.

use super::*;

/// Types, in the order of their bits.
pub(in crate::schema) const TYPES: [&str; 7] =
    ["null", "boolean", "object", "array", "string", "number", "integer"];

/// What a word's value is, for who wrote another.
const SCHEMAS: &str = "is an object of schemas";

impl<'s> Compiler<'s, '_> {
    pub(super) fn words(&mut self, at: At, words: &'s Map<String, Value>) -> Result<Node, String> {
        let mut rules = Vec::new();
        if let Some(reference) = words.get("$ref") {
            let reference = reference.as_str().ok_or("`$ref` is a string")?;
            let target = self.resolve(reference)?;
            let target = self.at(target, at, "$ref", Key::None);
            rules.push(Rule::Ref(target));
            if self.dialect == Dialect::Old {
                return Ok(Node { rules });
            }
        }
        self.identity(at, words)?;
        self.definitions(at, words)?;
        self.plain(words, &mut rules)?;
        self.texts(words, &mut rules)?;
        self.lists(at, words, &mut rules)?;
        self.objects(at, words, &mut rules)?;
        self.applied(at, words, &mut rules)?;
        self.unlooked(at, words, &mut rules)?;
        Ok(Node { rules })
    }

    /// Words that say which schema this is.
    fn identity(&self, at: At, words: &Map<String, Value>) -> Result<(), String> {
        for word in ["$dynamicRef", "$recursiveRef"] {
            if words.contains_key(word) {
                return Err(format!("uses `{word}`, which this host does not follow"));
            }
        }
        let Some(id) = words.get("$id") else { return Ok(()) };
        let id = id.as_str().ok_or("`$id` is a string")?;
        if at != 0 && !(id.starts_with('#') && self.dialect == Dialect::Old) {
            return Err("has an `$id` below the root, which this host does not follow".to_owned());
        }
        Ok(())
    }

    /// Definitions are checked also where nothing refers to them.
    fn definitions(&mut self, at: At, words: &'s Map<String, Value>) -> Result<(), String> {
        for word in ["$defs", "definitions"] {
            self.named(at, words, word)?;
        }
        Ok(())
    }

    fn plain(
        &mut self,
        words: &'s Map<String, Value>,
        rules: &mut Vec<Rule>,
    ) -> Result<(), String> {
        if let Some(types) = words.get("type") {
            rules.push(Rule::Types(type_bits(types)?));
        }
        if let Some(values) = words.get("enum") {
            rules.push(Rule::Enum(values.as_array().ok_or("`enum` is a list")?.clone()));
        }
        if let Some(value) = words.get("const") {
            rules.push(Rule::Enum(vec![value.clone()]));
        }
        // In draft 4 the exclusive words are flags beside the others.
        let flag = |word: &str| words.get(word) == Some(&Value::Bool(true));
        if let Some(least) = number(words, "minimum")? {
            let above = self.dialect == Dialect::Old && flag("exclusiveMinimum");
            rules.push(if above { Rule::Above(least) } else { Rule::AtLeast(least) });
        }
        if let Some(most) = number(words, "maximum")? {
            let below = self.dialect == Dialect::Old && flag("exclusiveMaximum");
            rules.push(if below { Rule::Below(most) } else { Rule::AtMost(most) });
        }
        let exclusive = |word: &str| match words.get(word) {
            Some(Value::Bool(_)) if self.dialect == Dialect::Old => Ok(None),
            _ => number(words, word),
        };
        rules.extend(exclusive("exclusiveMinimum")?.map(Rule::Above));
        rules.extend(exclusive("exclusiveMaximum")?.map(Rule::Below));
        if let Some(of) = number(words, "multipleOf")? {
            if of.compare(&Number::ZERO) != std::cmp::Ordering::Greater {
                return Err("`multipleOf` is above 0".to_owned());
            }
            rules.push(Rule::MultipleOf(of));
        }
        Ok(())
    }

    fn texts(
        &mut self,
        words: &'s Map<String, Value>,
        rules: &mut Vec<Rule>,
    ) -> Result<(), String> {
        rules.extend(range(words, "minLength", "maxLength")?.map(Rule::Length));
        if let Some(source) = words.get("pattern") {
            let source = source.as_str().ok_or("`pattern` is a string")?;
            let id = self.pattern(source).map_err(|problem| format!("`pattern` {problem}"))?;
            rules.push(Rule::Pattern(id));
        }
        Ok(())
    }

    fn lists(
        &mut self,
        at: At,
        words: &'s Map<String, Value>,
        rules: &mut Vec<Rule>,
    ) -> Result<(), String> {
        rules.extend(range(words, "minItems", "maxItems")?.map(Rule::Count));
        match words.get("uniqueItems") {
            None | Some(Value::Bool(false)) => {}
            Some(Value::Bool(true)) => rules.push(Rule::Unique),
            Some(_) => return Err("`uniqueItems` is true or false".to_owned()),
        }
        let listed =
            words.get("items").is_some_and(Value::is_array) && self.dialect != Dialect::Newest;
        let (first, rest) =
            if listed { ("items", "additionalItems") } else { ("prefixItems", "items") };
        let first = self.list(at, words, first)?;
        let rest = self.one(at, words, rest)?;
        if !first.is_empty() || rest.is_some() {
            rules.push(Rule::Items(Items { first, rest }));
        }
        if let Some(contained) = self.one(at, words, "contains")? {
            let bounds = range(words, "minContains", "maxContains")?;
            let min = if words.contains_key("minContains") { None } else { Some(1) };
            let bounds = bounds.unwrap_or(Range { min: 0, max: u64::MAX });
            rules.push(Rule::Contains(
                contained,
                Range { min: min.unwrap_or(bounds.min), ..bounds },
            ));
        }
        Ok(())
    }

    fn objects(
        &mut self,
        at: At,
        words: &'s Map<String, Value>,
        rules: &mut Vec<Rule>,
    ) -> Result<(), String> {
        rules.extend(range(words, "minProperties", "maxProperties")?.map(Rule::Members));
        if let Some(names) = words.get("required") {
            rules.push(Rule::Required(names_of("required", names)?));
        }
        let named: BTreeMap<_, _> = self.named(at, words, "properties")?.into_iter().collect();
        let mut patterned = Vec::new();
        for (source, schema) in self.named(at, words, "patternProperties")? {
            let (source, _) = words["patternProperties"]
                .as_object()
                .and_then(|members| members.get_key_value(source.as_str()))
                .expect("it was just read");
            let id =
                self.pattern(source).map_err(|problem| format!("`patternProperties` {problem}"))?;
            patterned.push((id, schema));
        }
        let rest = self.one(at, words, "additionalProperties")?;
        if !named.is_empty() || !patterned.is_empty() || rest.is_some() {
            rules.push(Rule::Fields(Box::new(Fields { named, patterned, rest })));
        }
        rules.extend(self.one(at, words, "propertyNames")?.map(Rule::Names));
        self.dependent(at, words, rules)
    }

    /// Members that call for others.
    fn dependent(
        &mut self,
        at: At,
        words: &'s Map<String, Value>,
        rules: &mut Vec<Rule>,
    ) -> Result<(), String> {
        let mut required = BTreeMap::new();
        let mut schemas: BTreeMap<_, _> =
            self.named(at, words, "dependentSchemas")?.into_iter().collect();
        for (name, names) in members(words, "dependentRequired", "is an object of lists")? {
            required.insert(name.clone(), names_of("dependentRequired", names)?);
        }
        if self.dialect == Dialect::Old {
            for (name, value) in members(words, "dependencies", SCHEMAS)? {
                if value.is_array() {
                    required.insert(name.clone(), names_of("dependencies", value)?);
                } else {
                    let schema = self.at(value, at, "dependencies", Key::Name(name));
                    schemas.insert(name.clone(), schema);
                }
            }
        }
        if !required.is_empty() {
            rules.push(Rule::RequiredWith(required));
        }
        if !schemas.is_empty() {
            rules.push(Rule::SchemaWith(schemas));
        }
        Ok(())
    }

    fn applied(
        &mut self,
        at: At,
        words: &'s Map<String, Value>,
        rules: &mut Vec<Rule>,
    ) -> Result<(), String> {
        for (word, rule) in [
            ("allOf", Rule::All as fn(Vec<At>) -> Rule),
            ("anyOf", Rule::Any),
            ("oneOf", Rule::One),
        ] {
            if !words.contains_key(word) {
                continue;
            }
            let all = self.list(at, words, word)?;
            if all.is_empty() {
                return Err(format!("`{word}` is empty"));
            }
            rules.push(rule(all));
        }
        rules.extend(self.one(at, words, "not")?.map(Rule::Not));
        let test = self.one(at, words, "if")?;
        let (then, otherwise) = (self.one(at, words, "then")?, self.one(at, words, "else")?);
        if let Some(test) = test {
            rules.push(Rule::If(Box::new(Branch { test, then, otherwise })));
        }
        Ok(())
    }

    fn unlooked(
        &mut self,
        at: At,
        words: &'s Map<String, Value>,
        rules: &mut Vec<Rule>,
    ) -> Result<(), String> {
        if self.dialect == Dialect::Old {
            return Ok(());
        }
        rules.extend(self.one(at, words, "unevaluatedProperties")?.map(Rule::OtherFields));
        rules.extend(self.one(at, words, "unevaluatedItems")?.map(Rule::OtherItems));
        Ok(())
    }

    fn one(
        &mut self,
        at: At,
        words: &'s Map<String, Value>,
        word: &'static str,
    ) -> Result<Option<At>, String> {
        let Some(value) = words.get(word) else { return Ok(None) };
        Ok(Some(self.at(value, at, word, Key::None)))
    }

    fn list(
        &mut self,
        at: At,
        words: &'s Map<String, Value>,
        word: &'static str,
    ) -> Result<Vec<At>, String> {
        let Some(value) = words.get(word) else { return Ok(Vec::new()) };
        let items = value.as_array().ok_or_else(|| format!("`{word}` is a list of schemas"))?;
        let schemas = items.iter().enumerate();
        Ok(schemas.map(|(index, schema)| self.at(schema, at, word, Key::Index(index))).collect())
    }

    fn named(
        &mut self,
        at: At,
        words: &'s Map<String, Value>,
        word: &'static str,
    ) -> Result<Vec<(String, At)>, String> {
        let members = members(words, word, SCHEMAS)?;
        Ok(members
            .map(|(name, schema)| (name.clone(), self.at(schema, at, word, Key::Name(name))))
            .collect())
    }
}

fn members<'s>(
    words: &'s Map<String, Value>,
    word: &str,
    shape: &str,
) -> Result<impl Iterator<Item = (&'s String, &'s Value)> + use<'s>, String> {
    let members = match words.get(word) {
        None => None,
        Some(Value::Object(members)) => Some(members),
        Some(_) => return Err(format!("`{word}` {shape}")),
    };
    Ok(members.into_iter().flatten())
}

fn type_bits(types: &Value) -> Result<u8, String> {
    let one = |name: &Value| {
        let place = TYPES.iter().position(|known| name.as_str() == Some(known));
        place
            .map(|place| 1 << place)
            .ok_or_else(|| format!("`type` is one of {}", TYPES.join(", ")))
    };
    match types {
        Value::Array(names) => names.iter().try_fold(0, |bits, name| Ok(bits | one(name)?)),
        name => one(name),
    }
}

fn number(words: &Map<String, Value>, word: &str) -> Result<Option<Number<'static>>, String> {
    match words.get(word) {
        None => Ok(None),
        Some(Value::Number(number)) => Ok(Some(Number::read(&number.to_string()).into_owned())),
        Some(_) => Err(format!("`{word}` is a number")),
    }
}

fn range(words: &Map<String, Value>, min: &str, max: &str) -> Result<Option<Range>, String> {
    let count = |word: &str| match words.get(word) {
        None => Ok(None),
        Some(value) => {
            // `2.0` is 2 (2020-12 section 6.3).
            let count = value.as_number().and_then(|own| Number::read(&own.to_string()).count());
            match count {
                Some(count) => Ok(Some(count)),
                None => Err(format!("`{word}` is a whole number, 0 or more")),
            }
        }
    };
    let (min, max) = (count(min)?, count(max)?);
    let bounded = min.is_some() || max.is_some();
    Ok(bounded.then(|| Range { min: min.unwrap_or(0), max: max.unwrap_or(u64::MAX) }))
}

fn names_of(word: &str, value: &Value) -> Result<Vec<String>, String> {
    let names = value.as_array().into_iter().flatten();
    let names: Option<Vec<String>> = names.map(|name| name.as_str().map(str::to_owned)).collect();
    names.filter(|_| value.is_array()).ok_or_else(|| format!("`{word}` is a list of names"))
}
