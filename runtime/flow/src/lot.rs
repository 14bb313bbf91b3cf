//! Records on their way through a pipeline, with where each came from.

use std::collections::HashMap;
use std::ops::Range;

use ferrule_model::record::{Batch, BatchError, RecordId, Transformed};

/// A batch in which every row knows the inputs of the pipeline that it came of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lot {
    pub(crate) records: Batch,
    /// For each row the row of the input; none: the same row.
    roots: Option<Vec<u32>>,
    /// Further inputs of rows, as pairs of row and input row, in order.
    also: Vec<(u32, u32)>,
    /// For each step passed, which output of its origin a row was; none: each the first.
    path: Vec<Option<Vec<u32>>>,
    /// Steps of the pipeline before the first of `path`.
    skipped: u32,
}

impl Lot {
    /// The input itself.
    pub(crate) fn input(records: Batch) -> Self {
        Self { records, ..Self::default() }
    }

    /// Records that have passed so many steps before.
    pub(crate) fn input_of_step(records: Batch, step: usize) -> Self {
        Self { records, skipped: u32::try_from(step).unwrap_or(u32::MAX), ..Self::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether every row is the input row of the same index and of no other.
    pub(crate) fn is_plain(&self) -> bool {
        self.roots.is_none() && self.also.is_empty()
    }

    /// The input rows of row `row`; the first is its origin.
    pub(crate) fn roots(&self, row: u32) -> impl Iterator<Item = u32> {
        let from = self.also.partition_point(|(other, _)| *other < row);
        let also = self.also.get(from..).unwrap_or_default().iter().take_while(move |(other, _)| *other == row);
        std::iter::once(self.root(row)).chain(also.map(|(_, root)| *root))
    }

    pub(crate) fn root(&self, row: u32) -> u32 {
        match &self.roots {
            Some(roots) => roots.get(row as usize).copied().unwrap_or_default(),
            None => row,
        }
    }

    /// The id of row `row`, whose origin has the id `input`.
    pub(crate) fn id(&self, row: u32, input: RecordId) -> RecordId {
        self.path.iter().zip(self.skipped..).fold(input, |id, (ordinals, step)| {
            let ordinal =
                ordinals.as_ref().and_then(|ordinals| ordinals.get(row as usize)).copied().unwrap_or_default();
            id.child(step, ordinal)
        })
    }

    /// The rows at `rows`, in that order.
    pub(crate) fn select(&self, rows: &[u32]) -> Result<Self, BatchError> {
        if rows.len() == self.len() && counts_up(rows) {
            return Ok(self.clone());
        }
        let also = if self.also.is_empty() {
            Vec::new()
        } else {
            let further = |(index, row): (u32, &u32)| {
                let row = *row;
                self.roots(row).skip(1).map(move |root| (index, root)).collect::<Vec<_>>()
            };
            (0..).zip(rows).flat_map(further).collect()
        };
        let pick = |ordinals: &Vec<u32>| -> Vec<u32> {
            rows.iter().map(|row| ordinals.get(*row as usize).copied().unwrap_or_default()).collect()
        };
        Ok(Self {
            records: self.records.select(rows)?,
            roots: Some(rows.iter().map(|row| self.root(*row)).collect()),
            also,
            path: self.path.iter().map(|ordinals| ordinals.as_ref().map(pick)).collect(),
            skipped: self.skipped,
        })
    }

    /// These rows, in memory of their own.
    pub(crate) fn detached(&self, rows: Range<u32>) -> Self {
        let part = self.select(&rows.collect::<Vec<u32>>()).unwrap_or_default();
        Self { records: part.records.detached(), ..part }
    }

    /// What a step made of these rows.
    pub(crate) fn transform(&self, transformed: &Transformed) -> Result<Self, BatchError> {
        let mut records = transformed.assemble(&self.records)?;
        records.upstream_ids = Default::default();
        let origins = &transformed.origins;
        let identity = origins.len() == self.len() && counts_up(origins);
        let mut also: Vec<(u32, u32)> = Vec::new();
        if !self.also.is_empty() {
            for (output, origin) in (0..).zip(origins) {
                also.extend(self.roots(*origin).skip(1).map(|root| (output, root)));
            }
        }
        for &(output, origin) in &transformed.also {
            also.extend(self.roots(origin).map(|root| (output, root)));
        }
        also.sort_unstable();
        also.dedup();
        let roots: Option<Vec<u32>> = match (&self.roots, identity) {
            (roots, true) => roots.clone(),
            (_, false) => Some(origins.iter().map(|origin| self.root(*origin)).collect()),
        };
        also.retain(|(output, root)| match &roots {
            Some(roots) => roots.get(*output as usize) != Some(root),
            None => output != root,
        });
        let mut path: Vec<Option<Vec<u32>>> = if identity {
            self.path.clone()
        } else {
            let pick = |ordinals: &Vec<u32>| -> Vec<u32> {
                origins.iter().map(|origin| ordinals.get(*origin as usize).copied().unwrap_or_default()).collect()
            };
            self.path.iter().map(|ordinals| ordinals.as_ref().map(pick)).collect()
        };
        path.push(if identity { None } else { ordinals(origins) });
        Ok(Self { records, roots, also, path, skipped: self.skipped })
    }

    /// All rows of all lots; each must have passed the same steps.
    pub(crate) fn concat(lots: &[Self]) -> Result<Self, BatchError> {
        if let [one] = lots {
            return Ok(one.clone());
        }
        let batches: Vec<Batch> = lots.iter().map(|lot| lot.records.clone()).collect();
        let skipped = lots.first().map_or(0, |lot| lot.skipped);
        let mut whole = Self { records: Batch::concat(&batches)?, roots: Some(Vec::new()), skipped, ..Self::default() };
        let steps = lots.iter().map(|lot| lot.path.len()).max().unwrap_or_default();
        let mut path = vec![Vec::new(); steps];
        for lot in lots {
            let roots = whole.roots.get_or_insert_default();
            let first = roots.len() as u32;
            roots.extend((0..lot.len() as u32).map(|row| lot.root(row)));
            whole.also.extend(lot.also.iter().map(|(row, root)| (row + first, *root)));
            for (step, ordinals) in path.iter_mut().enumerate() {
                match lot.path.get(step) {
                    Some(Some(some)) => ordinals.extend(some),
                    _ => ordinals.extend(std::iter::repeat_n(0, lot.len())),
                }
            }
        }
        whole.path =
            path.into_iter().map(|ordinals| ordinals.iter().any(|ordinal| *ordinal > 0).then_some(ordinals)).collect();
        Ok(whole)
    }
}

/// Whether number `i` is `i`. All are looked at, so that the loop becomes vector instructions.
fn counts_up(numbers: &[u32]) -> bool {
    let mut differ = 0;
    for (index, number) in numbers.iter().enumerate() {
        differ |= number ^ index as u32;
    }
    differ == 0
}

/// For each output, how many outputs of the same origin are before it; none if each is the first.
fn ordinals(origins: &[u32]) -> Option<Vec<u32>> {
    if origins.windows(2).all(|pair| pair.first() < pair.last()) {
        return None;
    }
    let mut seen: HashMap<u32, u32> = HashMap::new();
    let ordinals: Vec<u32> = origins
        .iter()
        .map(|origin| {
            let next = seen.entry(*origin).or_default();
            *next += 1;
            *next - 1
        })
        .collect();
    ordinals.iter().any(|ordinal| *ordinal > 0).then_some(ordinals)
}

#[cfg(test)]
mod tests {
    use ferrule_model::record::RecordAddress;

    use super::*;

    fn transformed(origins: &[u32], also: &[(u32, u32)]) -> Transformed {
        Transformed { origins: origins.to_vec(), also: also.to_vec(), ..Transformed::default() }
    }

    fn roots(lot: &Lot) -> Vec<Vec<u32>> {
        (0..lot.len() as u32).map(|row| lot.roots(row).collect()).collect()
    }

    #[test]
    fn origins_are_followed_through_steps() {
        let input = Lot::input(Batch::of(["a", "b", "c", "d"]).unwrap());
        assert!(input.is_plain());
        let same = input.transform(&Transformed::pass(4)).unwrap();
        assert!(same.is_plain());
        let split = same.transform(&transformed(&[3, 1, 1], &[(0, 0), (0, 3)])).unwrap();
        assert_eq!(roots(&split), [vec![3, 0], vec![1], vec![1]]);
        let merged = split.transform(&transformed(&[2], &[(0, 0)])).unwrap();
        assert_eq!(roots(&merged), [vec![1, 0, 3]]);
        let picked = split.select(&[2, 0]).unwrap();
        assert_eq!(roots(&picked), [vec![1], vec![3, 0]]);
        let whole = Lot::concat(&[split.clone(), picked]).unwrap();
        assert_eq!(roots(&whole), [vec![3, 0], vec![1], vec![1], vec![1], vec![3, 0]]);
        let texts: Vec<_> = whole.records.iter().map(|record| record.payload.to_vec()).collect();
        assert_eq!(texts, [b"d", b"b", b"b", b"b", b"d"]);
    }

    #[test]
    fn ids_differ_by_step_and_ordinal_and_are_stable() {
        let address = RecordAddress { stream: "s".into(), partition: 0, offset: 0 };
        let id = RecordId::of_address(&address);
        let input = Lot::input(Batch::of(["a"]).unwrap());
        assert_eq!(input.id(0, id), id);
        let twice = input.transform(&transformed(&[0, 0], &[])).unwrap();
        assert_eq!(twice.id(0, id), id.child(0, 0));
        assert_eq!(twice.id(1, id), id.child(0, 1));
        let again = twice.transform(&Transformed::pass(2)).unwrap();
        assert_eq!(again.id(1, id), id.child(0, 1).child(1, 0));
        assert_eq!(again.select(&[1]).unwrap().id(0, id), again.id(1, id));
        let whole = Lot::concat(&[twice.select(&[0]).unwrap(), twice.select(&[1]).unwrap()]).unwrap();
        assert_eq!(whole.id(1, id), twice.id(1, id));
    }
}
