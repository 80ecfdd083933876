//! `--dry-run`: what a run would swap, and which rows would fail before anything is sent.

use std::{io, sync::Arc};

use super::{chunk::PassedValues, failures::FailureLog, fill, plan::BulkPlan, reader::ChunkReader};
use crate::{context::CommandError, exit::Exit, output::Output};

/// Reads standard input to its end, and reports the number of values of each column or field. Asks no daemon.
pub(super) fn run(plan: &Arc<BulkPlan>, output: &mut Output) -> Result<Exit, CommandError> {
    let stopped = |cause, rows| match cause {
        CommandError::BrokenRow { .. } | CommandError::Input(_) => {
            CommandError::DryRunStopped { cause: Box::new(cause), rows: plan.skip_rows + rows }
        }
        cause => cause,
    };
    let mut failures = FailureLog::open(plan)?;
    let opened = ChunkReader::open(Arc::clone(plan), io::stdin());
    let opened = opened.and_then(|mut source| source.skip().map(|()| source));
    let mut source = match opened {
        Ok(source) => source,
        Err(cause) => {
            failures.list_end(&cause, plan)?;
            return Err(stopped(cause, 0));
        }
    };
    let (mut rows, mut passed, mut values) = (0, PassedValues::default(), vec![0_u64; plan.columns.len()]);
    let outcome = loop {
        let chunk = match source.next_chunk() {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        for gap in chunk.gaps.iter().filter(|gap| gap.sent.is_some()) {
            values[gap.column] += 1;
        }
        let checked = fill::without_results(chunk, plan);
        rows += checked.rows;
        passed.add(checked.passed);
        failures.record(&checked.failures, plan)?;
    };
    if let Err(cause) = &outcome {
        failures.list_end(cause, plan)?;
    }
    failures.report(plan, output);
    outcome.map_err(|cause| stopped(cause, rows))?;
    let mut table = vec![vec!["rows".to_owned(), rows.to_string()]];
    for (column, values) in values.iter().enumerate() {
        table.push(vec![format!("values of {}", plan.name(column)), values.to_string()]);
    }
    source.notes().get().into_iter().flatten().for_each(|note| output.note(note));
    if let Some((row, column)) = passed.first {
        let name = format!("values that never were tokens (the first in row {row}, {})", plan.name(column));
        table.push(vec![name, passed.count.to_string()]);
    }
    output.table(&["DRY RUN", ""], table)?;
    Ok(if failures.is_empty() { Exit::Done } else { Exit::Failure })
}
