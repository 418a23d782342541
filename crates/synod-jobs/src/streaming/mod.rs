//! Hadoop Streaming: jobs whose functions are programs that read lines and print lines.
//!
//! What Hadoop's users wrote for it runs as it is: its argument list ([`arguments`]), its properties
//! under all their names ([`properties`]), its line rules ([`wire`]), partitioners ([`partition`]),
//! comparator ([`order`]), environment ([`environment`]), reports on stderr ([`report`]) and
//! conventions about processes ([`child`]). A job is a [`JobSpec`](crate::JobSpec) named `streaming`
//! whose options are Hadoop's properties; [`Streaming`] runs it through the engine's hooks.
//!
//! Where Hadoop and a Unix user would differ Hadoop is followed, unless the property
//! `synod.streaming.compatible` is false.

pub mod aggregate;
pub mod arguments;
pub mod child;
pub mod classes;
pub mod command;
pub mod environment;
pub mod files;
pub mod java_text;
pub mod key_fields;
pub mod locations;
pub mod order;
pub mod partition;
pub mod properties;
pub mod report;
pub mod settings;
pub mod wire;

mod job;
mod map;
mod reduce;
mod skip;
mod stage;

pub use job::Streaming;
pub use stage::HADOOP_BUFFER_BYTES;

use crate::builtin::options::NamedJob;
use crate::spec::JobSpec;
use properties::Properties;
use settings::Settings;

impl JobSpec {
    /// Whether its tasks run programs of whoever submitted it. A server may refuse that.
    pub fn runs_external_commands(&self) -> bool {
        let properties = Properties::of_options(&self.options);
        // What cannot be read is not let through here.
        let harmless = Settings::read(&properties).is_ok_and(|settings| !settings.runs_commands());
        self.job == Streaming::NAME && !harmless
    }
}
