//! Which members and items other rules have looked at (2020-12 core, section 11): what is left is for the `unevaluated…`
//! rules.

use super::{Run, Stop, document};
use crate::schema::NESTING_MAX;
use crate::schema::compile::{At, Rule};

impl Run<'_, '_> {
    /// By member, in their order.
    pub(super) fn fields_looked_at(
        &mut self,
        at: At,
        node: document::At,
    ) -> Result<Vec<bool>, Stop> {
        let mut looked = vec![false; self.document.fields(node).count()];
        self.spend(looked.len() as u64)?;
        self.quiet(|run| run.mark(at, node, &mut looked, true))?;
        Ok(looked)
    }

    /// By item.
    pub(super) fn items_looked_at(
        &mut self,
        at: At,
        node: document::At,
    ) -> Result<Vec<bool>, Stop> {
        let mut looked = vec![false; self.document.items(node).count()];
        self.spend(looked.len() as u64)?;
        self.quiet(|run| run.mark(at, node, &mut looked, true))?;
        Ok(looked)
    }

    fn quiet<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Stop>) -> Result<T, Stop> {
        let asked = std::mem::replace(&mut self.asked, false);
        let done = work(self);
        self.asked = asked;
        done
    }

    /// Marks what a schema looks at, which the value is known to fit. `own` is the schema that asks: its own rule for the
    /// rest does not count.
    fn mark(
        &mut self,
        at: At,
        node: document::At,
        looked: &mut [bool],
        own: bool,
    ) -> Result<(), Stop> {
        self.spend(1)?;
        // Schemas of one value lead to one another as deep as values do, on the same stack.
        if self.nesting >= NESTING_MAX {
            return Err(Stop::Spent);
        }
        self.nesting += 1;
        let schema = self.schema;
        for rule in &schema.nodes[at as usize].rules {
            self.spend(1)?;
            match rule {
                Rule::Ref(below) => self.mark(*below, node, looked, false)?,
                Rule::All(all) | Rule::Any(all) | Rule::One(all) => {
                    for below in all {
                        self.mark_if_holds(*below, node, looked)?;
                    }
                }
                Rule::If(branch) => {
                    let chosen = if self.holds(branch.test, node)? {
                        self.mark(branch.test, node, looked, false)?;
                        branch.then
                    } else {
                        branch.otherwise
                    };
                    if let Some(chosen) = chosen {
                        self.mark_if_holds(chosen, node, looked)?;
                    }
                }
                Rule::SchemaWith(by_name) => {
                    for (name, below) in by_name {
                        if self.member(name, node)?.is_some() {
                            self.mark_if_holds(*below, node, looked)?;
                        }
                    }
                }
                Rule::OtherFields(_) | Rule::OtherItems(_) if own => {}
                rule => self.mark_directly(rule, node, looked)?,
            }
        }
        self.nesting -= 1;
        Ok(())
    }

    fn mark_if_holds(
        &mut self,
        at: At,
        node: document::At,
        looked: &mut [bool],
    ) -> Result<(), Stop> {
        if self.holds(at, node)? { self.mark(at, node, looked, false) } else { Ok(()) }
    }

    /// What one rule looks at by itself.
    fn mark_directly(
        &mut self,
        rule: &Rule,
        node: document::At,
        looked: &mut [bool],
    ) -> Result<(), Stop> {
        use crate::schema::document::Kind;
        let document = self.document;
        match (rule, document.kind(node)) {
            (Rule::Fields(fields), Kind::Fields) => {
                for (index, (name, _)) in document.fields(node).enumerate() {
                    let mut hit =
                        fields.rest.is_some() || fields.named.contains_key(&*self.name(name)?);
                    for (pattern, _) in &fields.patterned {
                        hit = hit || self.occurs(*pattern, name)?;
                    }
                    looked[index] |= hit;
                }
            }
            (Rule::Items(items), Kind::List) => {
                let count = if items.rest.is_some() { looked.len() } else { items.first.len() };
                looked.iter_mut().take(count).for_each(|looked| *looked = true);
            }
            (Rule::Contains(below, _), Kind::List) => {
                for (index, item) in document.items(node).enumerate() {
                    looked[index] = looked[index] || self.holds(*below, item)?;
                }
            }
            (Rule::OtherFields(_), Kind::Fields) | (Rule::OtherItems(_), Kind::List) => {
                looked.iter_mut().for_each(|looked| *looked = true);
            }
            _ => {}
        }
        Ok(())
    }
}
