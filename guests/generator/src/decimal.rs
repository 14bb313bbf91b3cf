//! Numbers as digits: the next one is the last with some digits changed.

/// Digits of the largest number.
pub(crate) const WIDTH: usize = 20;

/// A number and its digits.
#[derive(Clone, Debug)]
pub(crate) struct Decimal {
    number: u64,
    digits: [u8; WIDTH],
    /// Where the digits begin.
    start: usize,
}

impl Decimal {
    pub(crate) fn new(number: u64) -> Self {
        let mut decimal = Self { number, digits: [b'0'; WIDTH], start: WIDTH - 1 };
        decimal.write(number);
        decimal
    }

    /// Another number. The same or the next costs least.
    #[inline]
    pub(crate) fn set(&mut self, number: u64) {
        match number.wrapping_sub(self.number) {
            0 => return,
            1 if number > 0 => self.count(),
            _ => self.write(number),
        }
        self.number = number;
    }

    /// The digits, with zeros before them.
    #[inline]
    pub(crate) fn padded(&self) -> &[u8; WIDTH] {
        &self.digits
    }

    /// The digits, at least one.
    #[inline]
    pub(crate) fn digits(&self) -> &[u8] {
        &self.digits[self.start..]
    }

    #[inline]
    fn count(&mut self) {
        for (place, digit) in self.digits.iter_mut().enumerate().rev() {
            if *digit < b'9' {
                *digit += 1;
                self.start = self.start.min(place);
                return;
            }
            *digit = b'0';
        }
    }

    fn write(&mut self, number: u64) {
        let mut left = number;
        self.start = WIDTH - 1;
        for (place, digit) in self.digits.iter_mut().enumerate().rev() {
            if left > 0 {
                self.start = place;
            }
            *digit = b'0' + (left % 10) as u8;
            left /= 10;
        }
    }
}

/// The last two digits of a number.
#[inline]
pub(crate) fn two(number: u64) -> [u8; 2] {
    [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_number() {
        let mut decimal = Decimal::new(0);
        let numbers = (0..1_100).chain([5, 5, 99_999, 100_000, u64::MAX - 1, u64::MAX, 0, 1, 42]);
        for number in numbers {
            decimal.set(number);
            assert_eq!(decimal.digits(), number.to_string().as_bytes());
            assert_eq!(&decimal.padded()[..], format!("{number:020}").as_bytes());
            assert_eq!(Decimal::new(number).digits(), decimal.digits());
            assert_eq!(two(number), format!("{:02}", number % 100).as_bytes());
        }
    }
}
