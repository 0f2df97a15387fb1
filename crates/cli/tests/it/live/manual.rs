//! Follows the chapters of the manual: what they say to type is run, in order, and says what they show.
//!
//! Each chapter has a shell in an empty folder with the repository's `examples`, and namespaces for its network, mounts
//! and processes, so that a domain may have the name that it has in the book. `manual/blocks.rs` says how blocks are
//! marked; the chapter with three machines is followed by `live::machines`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::live::world::{Folder, eventually, live};
use crate::manual::blocks::{Block, Step, blocks, chapters, folder};

/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The chapters whose blocks name machines.
const MACHINES: [&str; 2] = ["three-machines.md", "two-gateways.md"];

/// A reader's shell.
struct Shell {
    process: Child,
    commands: ChildStdin,
    /// The exit code of each command.
    codes: Receiver<String>,
    count: u32,
    last: i32,
    folder: Folder,
}

impl Shell {
    fn new(name: &str) -> Shell {
        let folder = Folder::new(&format!("man-{name}-{}", std::process::id()));
        copy(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples"),
            &folder.0.join("examples"),
        );
        let program = Path::new(env!("CARGO_BIN_EXE_ringmail")).parent().expect("a folder");
        let path = std::env::var("PATH").unwrap_or_default();
        // With the last process of the namespace goes whatever a command left running.
        let mut process = Command::new("unshare")
            .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh"])
            .current_dir(&folder.0)
            .env("PATH", format!("{}:{path}:/usr/sbin:/sbin", program.display()))
            .env("HOME", &folder.0)
            .env("RINGMAIL_RUNTIME_DIR", "/run/ringmail")
            .env_remove("RINGMAIL_LOG")
            .env_remove("XDG_RUNTIME_DIR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare is installed");
        let commands = process.stdin.take().expect("it is piped");
        let said = BufReader::new(process.stdout.take().expect("it is piped"));
        let (send, codes) = channel();
        std::thread::spawn(move || {
            said.lines().map_while(Result::ok).try_for_each(|line| send.send(line))
        });
        let mut shell = Shell { process, commands, codes, count: 0, last: 0, folder };
        let (code, said) = shell.run("mount -t tmpfs none /run && ip link set lo up");
        assert_eq!(code, 0, "{said}");
        shell
    }

    /// Runs a command; its exit code, and all that it says.
    fn run(&mut self, command: &str) -> (i32, String) {
        self.count += 1;
        let (count, last) = (self.count, self.last);
        let line = format!(
            "(exit {last}); {{ {command}\n}} >$HOME/.said.{count} 2>&1 </dev/null; echo $?\n"
        );
        self.commands.write_all(line.as_bytes()).expect("the shell runs");
        let code = self.codes.recv_timeout(PATIENCE);
        let code =
            code.unwrap_or_else(|_| panic!("`{command}` does not end:\n{}", self.said(count)));
        self.last = code.parse().expect("an exit code");
        (self.last, self.said(count))
    }

    /// Starts a command; where its words go to.
    fn start(&mut self, command: &str) -> u32 {
        self.count += 1;
        let line = format!("{command} >$HOME/.said.{} 2>&1 </dev/null &\n", self.count);
        self.commands.write_all(line.as_bytes()).expect("the shell runs");
        self.count
    }

    fn said(&self, count: u32) -> String {
        let said = fs::read(self.folder.0.join(format!(".said.{count}"))).unwrap_or_default();
        String::from_utf8_lossy(&said).into_owned()
    }

    /// Does with a block what its marks say. `at` is for whoever has to mend it.
    fn follow(&mut self, block: &Block, at: &str) {
        let marks: Vec<&str> = block.marks.iter().map(String::as_str).collect();
        let at = format!("{at}:{}", block.line);
        match marks[..] {
            ["run"] if block.is_commands() => self.steps(&block.steps(), false, &at),
            ["run", "about"] => self.steps(&block.steps(), true, &at),
            ["background"] => {
                let [step] = &block.steps()[..] else { panic!("{at}: one command goes on") };
                let count = self.start(&step.command);
                eventually(&format!("{at}: `{}` says that it is there", step.command), || {
                    let said = self.said(count);
                    assert!(!said.contains("error:"), "{at}: `{}` says:\n{said}", step.command);
                    missing(&step.shown, &said, false).is_none().then_some(())
                });
            }
            [file] if file.starts_with("file=") => {
                fs::write(self.folder.0.join(&file[5..]), &block.text).expect("a file");
            }
            _ => panic!("{at}: what is to be done with this block? {marks:?}"),
        }
    }

    fn steps(&mut self, steps: &[Step], about: bool, at: &str) {
        for (number, step) in steps.iter().enumerate() {
            let (code, said) = self.run(&step.command);
            let asked = steps.get(number + 1).is_some_and(|next| next.command == "echo $?");
            let command = &step.command;
            assert!(code == 0 || asked, "{at}: `{command}` ends with {code}:\n{said}");
            if let Some(line) = missing(&step.shown, &said, about) {
                panic!("{at}: `{command}` does not say\n  {line}\nbut\n{said}");
            }
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The first of these lines that is not in a text behind the ones before it. `…` is whatever there is; blanks do not count.
fn missing<'a>(shown: &'a [String], said: &str, about: bool) -> Option<&'a str> {
    let mut lines = said.lines().map(|line| plain(line, about));
    let found = |line: &str| {
        let line = plain(line, about);
        line == "…" || line.is_empty() || lines.any(|said| fits(&line, &said))
    };
    let mut found = found;
    shown.iter().map(String::as_str).find(|line| !found(line))
}

/// A line with single blanks and, where numbers may differ, without them.
fn plain(line: &str, about: bool) -> String {
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    if !about {
        return line;
    }
    let parts = line.split(|c: char| c.is_ascii_digit() || c == '.');
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("#")
}

fn fits(shown: &str, said: &str) -> bool {
    let parts: Vec<&str> = shown.split('…').collect();
    let [first, middle @ .., last] = &parts[..] else { return shown == said };
    let Some(mut rest) = said.strip_prefix(first) else { return false };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a new folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).expect("a file")),
        }
    }
}

#[test]
fn its_chapters_can_be_followed() {
    live(|_| {
        let mut followed = 0;
        for chapter in chapters().iter().filter(|chapter| !MACHINES.contains(&chapter.as_str())) {
            let text = fs::read_to_string(folder().join(chapter)).expect("a chapter");
            let blocks: Vec<_> =
                blocks(&text).into_iter().filter(|b| b.not_run.is_none()).collect();
            let blocks: Vec<_> = blocks.iter().filter(|b| !b.marks.is_empty()).collect();
            if blocks.is_empty() {
                continue;
            }
            eprintln!("{chapter}");
            let mut shell = Shell::new(chapter.trim_end_matches(".md"));
            blocks.iter().for_each(|block| shell.follow(block, chapter));
            followed += 1;
        }
        assert!(followed >= 2, "{followed} chapters have blocks that are run");
    });
}

#[test]
fn what_is_shown_has_to_be_said_in_its_order() {
    let shown = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>();
    let said = "a  table of 12\nsf1   hop  ready\n200\n";
    let exact = |lines: &[&str]| missing(&shown(lines), said, false).map(str::to_owned);
    assert_eq!(exact(&["a table of 12", "200"]), None);
    assert_eq!(exact(&["a … 12", "…", "sf1 …"]), None);
    assert_eq!(exact(&["200", "sf1 hop ready"]), Some("sf1 hop ready".to_owned()));
    assert_eq!(exact(&["a table of 13"]), Some("a table of 13".to_owned()));
    assert_eq!(exact(&["sf1 … gone"]), Some("sf1 … gone".to_owned()));
    assert_eq!(missing(&shown(&["a table of 7", "403"]), said, true), None);
    assert_eq!(missing(&shown(&["a chair of 7"]), said, true), Some("a chair of 7"));
}
