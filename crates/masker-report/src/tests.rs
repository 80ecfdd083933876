//! The documents, examined by the programs that read them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use masker_api::Report;

use crate::{pdf, samples};

/// The resolution of the stored pictures of pages, in dots per inch.
const PICTURE_DPI: &str = "40";
/// By how much the grey of a point may differ on average, of 255: versions of poppler smooth letters differently.
const DIFFERENCE_MAX: f64 = 4.0;

/// Runs a program and returns its output. Returns `None` where it is not installed.
fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = match Command::new(program).args(arguments).output() {
        Ok(output) => output,
        Err(_) => {
            eprintln!("skipped: {program} is not installed");
            return None;
        }
    };
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program}: {text}{errors}");
    Some(text.into_owned())
}

/// Writes the PDF of a report.
fn written(report: &Report, folder: &Path) -> String {
    let path = folder.join("report.pdf");
    fs::write(&path, pdf(report).unwrap()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_pdf_is_well_formed_and_has_two_pages_with_embedded_fonts() {
    let folder = tempfile::tempdir().unwrap();
    for report in [samples::week(), samples::hostile(), samples::broken(), empty()] {
        let path = written(&report, folder.path());
        // krilla has validated PDF/A-3b before this.
        if let Some(checked) = run("qpdf", &["--check", &path]) {
            assert!(checked.contains("No syntax or stream encoding errors found"), "{checked}");
            assert_eq!(run("qpdf", &["--show-npages", &path]).unwrap().trim(), "2");
        }
        let Some(fonts) = run("pdffonts", &[&path]) else { continue };
        let fonts: Vec<&str> = fonts.lines().skip(2).collect();
        assert!(!fonts.is_empty());
        for font in fonts {
            let words: Vec<&str> = font.split_whitespace().collect();
            assert!(words[0].contains("LiberationSans"), "{font}");
            // The last columns: emb, sub, uni, object, generation.
            assert_eq!(words[words.len() - 5..words.len() - 2], ["yes", "yes", "yes"], "{font}");
        }
    }
}

#[test]
fn the_json_of_the_report_is_attached() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(&samples::week(), folder.path());
    let Some(attached) = run("qpdf", &["--show-attachment=report.json", &path]) else { return };
    let attached: Report = serde_json::from_str(&attached).unwrap();
    assert_eq!(attached.log.head, samples::week().log.head);
    assert_eq!(attached.rehydrations.len(), 3);
}

#[test]
fn the_text_can_be_searched() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(&samples::week(), folder.path());
    let Some(text) = run("pdftotext", &["-layout", &path, "-"]) else { return };
    for part in ["The audit log verifies", "billing (uid 1001", "rate.limited", "K_CARE", "Prepared by", "page 2 of 2"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn the_same_report_gives_the_same_document() {
    assert!(pdf(&samples::week()).unwrap() == pdf(&samples::week()).unwrap());
}

/// Compares the pages with stored pictures. To store new ones, run it with `MASKER_STORE_PICTURES=1`, and look at them.
#[test]
fn the_pages_look_as_their_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(&samples::week(), folder.path());
    let prefix = folder.path().join("page");
    let arguments = ["-gray", "-r", PICTURE_DPI, &path, prefix.to_str().unwrap()];
    if run("pdftoppm", &arguments).is_none() {
        return;
    }
    for page in 1..=2 {
        let drawn = fs::read(folder.path().join(format!("page-{page}.pgm"))).unwrap();
        let stored = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("pictures/week-{page}.pgm"));
        if std::env::var_os("MASKER_STORE_PICTURES").is_some() {
            fs::write(&stored, &drawn).unwrap();
        }
        let stored = fs::read(stored).unwrap();
        assert_eq!(drawn.len(), stored.len(), "page {page} has another size");
        let differences = drawn.iter().zip(&stored).map(|(drawn, stored)| f64::from(drawn.abs_diff(*stored)));
        let average = differences.sum::<f64>() / drawn.len() as f64;
        assert!(average <= DIFFERENCE_MAX, "page {page} differs by {average:.1} of 255");
    }
}

/// Returns a report of a period in which nothing happened.
fn empty() -> Report {
    let week = samples::week();
    Report { generated_at: week.generated_at, period: week.period, ..Report::default() }
}
