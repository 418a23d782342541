//! A program on a pseudo-terminal of its own: what it shows to a person.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// A running program and the other side of its terminal.
pub struct OnTerminal {
    child: Child,
    terminal: File,
    /// What it has shown so far.
    shown: Vec<u8>,
}

impl OnTerminal {
    /// Starts it on a terminal of this many columns, which is its input, output and error.
    pub fn start(command: &mut Command, columns: u16) -> OnTerminal {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let terminal = openpt(flags).expect("a pseudo-terminal can be had");
        grantpt(&terminal).expect("it is ours");
        unlockpt(&terminal).expect("it is ours");
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).expect("a terminal has a size");
        let name = ptsname(&terminal, Vec::new()).expect("it has a name");
        let name = name.to_str().expect("such names are text");
        let side = || {
            let opened = File::options().read(true).write(true).open(name);
            Stdio::from(OwnedFd::from(opened.expect("the program's side can be opened")))
        };
        command.env("TERM", "xterm").stdin(side()).stdout(side()).stderr(side());
        let child = command.spawn().expect("the binary can be run");
        // The program alone holds its side from now on: its end is the end of what can be read.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        OnTerminal { child, terminal: terminal.into(), shown: Vec::new() }
    }

    /// Waits until it shows this.
    pub fn wait_for(&mut self, text: &str) {
        let has_it = |shown: &[u8]| shown.windows(text.len()).any(|part| part == text.as_bytes());
        while !has_it(&self.shown) {
            let shown = String::from_utf8_lossy(&self.shown).into_owned();
            assert!(self.read(), "it has ended without {text:?}: {shown}");
        }
    }

    /// Takes what it shows next; `false` at its end.
    fn read(&mut self) -> bool {
        let mut piece = [0; 4096];
        // The end of a terminal is an error.
        let Ok(read @ 1..) = self.terminal.read(&mut piece) else { return false };
        self.shown.extend_from_slice(&piece[..read]);
        true
    }

    /// All that it shows until it ends, as it was sent; and how it ended.
    pub fn finish(mut self) -> (String, ExitStatus) {
        while self.read() {}
        let status = self.child.wait().expect("a child can be waited for");
        (String::from_utf8_lossy(&self.shown).into_owned(), status)
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What a terminal would have shown, one after the other: the lines between control sequences.
pub fn frames(shown: &str) -> Vec<String> {
    let mut frames = Vec::new();
    let mut frame = String::new();
    let mut rest = shown.chars();
    while let Some(c) = rest.next() {
        match c {
            // A sequence ends with a letter.
            '\u{1b}' => drop(rest.by_ref().find(char::is_ascii_alphabetic)),
            '\r' | '\n' => frames.push(std::mem::take(&mut frame)),
            c => frame.push(c),
        }
    }
    frames.push(frame);
    frames.iter_mut().for_each(|frame| frame.truncate(frame.trim_end().len()));
    frames.retain(|frame| !frame.trim().is_empty());
    frames
}
