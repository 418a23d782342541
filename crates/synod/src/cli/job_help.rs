//! What `synod run --help` says of the built-in jobs: made from their registry, so that a new job or
//! option is never missing here.

use synod::jobs::{BUILT_IN, JobInfo};

/// The jobs with their options, then examples.
pub fn text() -> String {
    let mut text = "Jobs, with what --set takes:\n".to_owned();
    for job in BUILT_IN.iter().filter(|job| job.is_shown) {
        add(&mut text, job);
    }
    text + EXAMPLES
}

fn add(text: &mut String, job: &JobInfo) {
    let width = NAME_WIDTH;
    *text += &format!("  {:width$}{}\n", job.name, job.about);
    for option in job.options {
        let setting = format!("{}={}", option.name, option.value);
        *text += &format!("  {:width$}  {setting:19} {}\n", "", option.help);
    }
}

const NAME_WIDTH: usize = 16;

const EXAMPLES: &str = r"
A value may hold \t, \n, \r, \0, \\ and \xHH where it stands for bytes.

Ctrl-C cancels the job, removes what it has written and ends with exit code 130.

Examples:
  synod run wordcount books/*.txt --output counts
  synod run loganalysis access.log --output clients --reduces 4
  synod run sort /shared/lines --output /shared/sorted --endpoints 127.0.0.1:2379,127.0.0.1:2389";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_and_option_has_a_line_that_fits() {
        let text = text();
        for job in BUILT_IN.iter().filter(|job| job.is_shown) {
            assert!(text.contains(&format!("\n  {} ", job.name)), "{}", job.name);
            for option in job.options {
                assert!(text.contains(&format!("  {}={}", option.name, option.value)));
            }
        }
        assert!(text.lines().all(|line| line.len() <= 100), "{text}");
    }
}
