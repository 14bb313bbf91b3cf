//! Random inputs: seeds, cut, joined, and with bytes changed.

/// Numbers that look like chance and are the same for the same seed (SplitMix64).
#[derive(Debug)]
pub(crate) struct Random(u64);

/// Numbers at which things go wrong.
const ODD: [u64; 8] = [0, 1, 0x7f, 0xff, 0x7fff_ffff, 0xffff_ffff, 0x7fff_ffff_ffff_ffff, u64::MAX];

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`; 0 if that is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % (bound.max(1) as u64)).unwrap_or_default()
    }

    /// A seed with some changes, or now and then nothing but chance.
    pub(crate) fn input(&mut self, seeds: &[Vec<u8>], largest: usize) -> Vec<u8> {
        let mut input = match self.below(8) {
            0 => (0..self.below(256)).map(|_| self.roll() as u8).collect(),
            _ => seeds.get(self.below(seeds.len())).cloned().unwrap_or_default(),
        };
        for _ in 0..self.below(8) {
            self.change(&mut input, seeds);
        }
        input.truncate(largest.max(seeds.iter().map(Vec::len).max().unwrap_or_default()));
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        match self.below(6) {
            0 => input.truncate(at),
            1 => input.insert(at, self.roll() as u8),
            2 => {
                let odd = ODD.get(self.below(ODD.len())).copied().unwrap_or_default().to_le_bytes();
                let width = [1, 2, 4, 8].get(self.below(4)).copied().unwrap_or(1);
                for (place, byte) in input.iter_mut().skip(at).take(width).zip(odd) {
                    *place = byte;
                }
            }
            3 => {
                let other = seeds.get(self.below(seeds.len())).cloned().unwrap_or_default();
                let from = self.below(other.len());
                input.truncate(at);
                input.extend(other.get(from..).unwrap_or_default());
            }
            4 => {
                let end = (at + self.below(16)).min(input.len());
                drop(input.drain(at.min(end)..end));
            }
            _ => {
                let bit = 1 << self.below(8);
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= bit;
                }
            }
        }
    }
}
