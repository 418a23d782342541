//! Which of several jobs on a cluster goes first: Hadoop's five priorities, by name or by number.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Workers take tasks of jobs with a higher priority first, and of one priority those of the oldest job.
/// Tasks that run are not stopped for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// After all others.
    VeryLow,
    /// After normal ones.
    Low,
    /// If nothing is said.
    #[default]
    Normal,
    /// Before normal ones.
    High,
    /// Before all others.
    VeryHigh,
}

/// The text is no priority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a priority is very-high, high, normal, low or very-low, or a number from 1 (very-low) to 5"
)]
pub struct NoPriority;

impl Priority {
    const ALL: [Priority; 5] =
        [Priority::VeryLow, Priority::Low, Priority::Normal, Priority::High, Priority::VeryHigh];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Priority::VeryLow => "very-low",
            Priority::Low => "low",
            Priority::Normal => "normal",
            Priority::High => "high",
            Priority::VeryHigh => "very-high",
        }
    }

    /// Whether it is the one that a job has of which nothing is said.
    pub fn is_normal(&self) -> bool {
        *self == Priority::Normal
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Priority {
    type Err = NoPriority;

    /// `very-high`, or as Hadoop writes it: `VERY_HIGH`, `DEFAULT`, or a number, of which 1 to 5 are
    /// `VERY_LOW` to `VERY_HIGH`, 0 is the default, and those above 5 are the highest there is.
    fn from_str(text: &str) -> Result<Priority, NoPriority> {
        let text = text.trim().to_ascii_lowercase().replace('_', "-");
        let named = Priority::ALL.into_iter().find(|priority| priority.name() == text);
        match text.parse::<u32>() {
            Ok(0) => Ok(Priority::Normal),
            Ok(number) => Ok(Priority::ALL[(number as usize).min(Priority::ALL.len()) - 1]),
            Err(_) if text == "default" => Ok(Priority::Normal),
            Err(_) => named.ok_or(NoPriority),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_read_by_our_names_by_hadoops_and_by_its_numbers() {
        for (texts, priority) in [
            (["very-high", "VERY_HIGH", "5"], Priority::VeryHigh),
            (["high", " HIGH ", "4"], Priority::High),
            (["normal", "DEFAULT", "3"], Priority::Normal),
            (["low", "Low", "2"], Priority::Low),
            (["very-low", "VERY_LOW", "1"], Priority::VeryLow),
            (["0", "default", "NORMAL"], Priority::Normal),
            (["6", "57", "2147483647"], Priority::VeryHigh),
        ] {
            for text in texts {
                assert_eq!(text.parse(), Ok(priority), "{text}");
            }
            assert_eq!(priority.to_string().parse(), Ok(priority));
        }
        for wrong in ["", "highest", "-1", "3.5", "very high", "UNDEFINED_PRIORITY", "99999999999"]
        {
            assert_eq!(wrong.parse::<Priority>(), Err(NoPriority), "{wrong}");
        }
        assert!(Priority::VeryHigh > Priority::High && Priority::Low > Priority::VeryLow);
    }
}
