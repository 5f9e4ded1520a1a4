//! A factory's own copy of the project's policies, with dates around today and its own chip vendor.

use crate::failure::{At as _, Failure, Outcome};
use crate::metadata;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// The copy.
#[derive(Clone, Debug)]
pub struct Policies(PathBuf);

impl Policies {
    /// Copies the project's policies into a directory that is not there yet. Grants and mandates run from the day
    /// before `now` for a hundred days, so that the factory works on any day.
    ///
    /// # Errors
    /// [`Failure`] names the file.
    pub fn copy(to: &Path, now: jiff::Timestamp) -> Outcome<Self> {
        let from = metadata::root().join("policies");
        for folder in entries(&from)?.into_iter().filter(|path| path.is_dir()) {
            let target = to.join(folder.file_name().unwrap_or_default());
            fs::create_dir_all(&target).at(&target)?;
            for file in entries(&folder)? {
                let text = fs::read_to_string(&file).at(&file)?;
                let copy = target.join(file.file_name().unwrap_or_default());
                fs::write(&copy, with_dates_around(&text, now)?).at(&copy)?;
            }
        }
        Ok(Self(to.to_owned()))
    }

    /// A copy that is there.
    #[must_use]
    pub fn at(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// A file in it.
    #[must_use]
    pub fn file(&self, kind: &str, name: &str) -> PathBuf {
        self.0.join(kind).join(format!("{name}.toml"))
    }

    /// Replaces a text that stands in a file once.
    ///
    /// # Errors
    /// [`Failure`] if it does not stand there once.
    pub fn edit(&self, file: &Path, from: &str, to: &str) -> Outcome<()> {
        let text = fs::read_to_string(file).at(file)?;
        if text.matches(from).count() != 1 {
            let what = format_args!("{}: {from:?} does not stand there once", file.display());
            return Err(Failure::new(what));
        }
        fs::write(file, text.replace(from, to)).at(file)
    }

    /// How many certificates a grant is for, in all and in a lot.
    ///
    /// # Errors
    /// [`Failure`] names the file.
    pub fn limit_grant(&self, grant: &str, total: u32) -> Outcome<()> {
        let limit = |line: &str| match line.split_once(" = ") {
            Some((key @ ("total" | "per_lot"), _)) => format!("{key} = {total}"),
            _ => line.to_owned(),
        };
        self.rewrite(&self.file("grants", grant), limit)
    }

    /// How many units a lot has, and which serials: the first and as many as there is room for.
    ///
    /// # Errors
    /// [`Failure`] names the file.
    pub fn size_lot(&self, lot: &str, quantity: u32) -> Outcome<()> {
        let size = |line: &str| match line.split_once(" = ") {
            Some(("quantity", _)) => format!("quantity = {quantity}"),
            _ => line.to_owned(),
        };
        self.rewrite(&self.file("lots", lot), size)
    }

    /// Writes a policy like another one, with other values for some of its keys.
    ///
    /// # Errors
    /// [`Failure`] names the file, or the key that is not in it.
    pub fn derive(&self, kind: &str, from: &str, to: &str, values: &[(&str, &str)]) -> Outcome<()> {
        let (source, target) = (self.file(kind, from), self.file(kind, to));
        fs::copy(&source, &target).at(&target)?;
        for (key, value) in values {
            let mut found = false;
            self.rewrite(&target, |line| match line.split_once(" = ") {
                Some((name, _)) if name == *key => {
                    found = true;
                    format!("{key} = {value}")
                }
                _ => line.to_owned(),
            })?;
            crate::failure::require(found, format_args!("{}: no {key}", source.display()))?;
        }
        Ok(())
    }

    fn rewrite(&self, file: &Path, line: impl FnMut(&str) -> String) -> Outcome<()> {
        let text = fs::read_to_string(file).at(file)?;
        let lines: Vec<_> = text.lines().map(line).collect();
        fs::write(file, lines.join("\n") + "\n").at(file)
    }
}

fn entries(dir: &Path) -> Outcome<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).at(dir)?;
    let paths: Result<Vec<_>, _> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect();
    paths.at(dir)
}

fn with_dates_around(text: &str, now: jiff::Timestamp) -> Outcome<String> {
    let round = |moment: jiff::Timestamp| moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let shifted = |sum: Result<jiff::Timestamp, jiff::Error>| sum.map(round).map_err(Failure::new);
    let yesterday = shifted(now.checked_sub(DAY))?;
    let later = shifted(now.checked_add(DAY.saturating_mul(100)))?;
    let in_ten_years = shifted(now.checked_add(DAY.saturating_mul(3_652)))?;
    let line = |line: &str| match line.split_once(" = 20") {
        Some((key @ ("from" | "not_before"), _)) => format!("{key} = {yesterday}"),
        // The infrastructure root outlives what it signs.
        Some(("until", rest)) if rest.starts_with("36") => format!("until = {in_ten_years}"),
        Some(("until", _)) => format!("until = {later}"),
        _ => line.to_owned(),
    };
    let lines: Vec<_> = text.lines().map(line).collect();
    Ok(lines.join("\n") + "\n")
}
