//! Summaries: what the events of a log say together, for reports.
//!
//! A summary counts requests by operation, caller and outcome, and items by operation, caller, kind and outcome. It lists
//! the events that an auditor reads one by one, such as changes of keys. Its size is bounded, so it can be kept for each day.
//!
//! - [`totals`] is the content of a summary, and how events and other summaries are added to it;
//! - [`reading`] verifies a segment and summarizes its events by day;
//! - [`rollup`] is the file beside a closed segment that has this result, with a MAC;
//! - [`period`] joins the segments of a log to the summary of a period.

mod event;
mod period;
mod reading;
mod rollup;
mod tally;
mod totals;

pub use period::{ChainFailure, PeriodSummary, SummarizeError, SummaryPeriod};
pub use tally::Tally;
pub use totals::{BudgetKey, DayTotals, ItemKey, ListedEvent, RequestKey, Summary, SummaryCaller};

pub(super) use period::{Rollups, SummarizedLog, make_rollup, summarize};
