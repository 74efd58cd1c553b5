/**
 * `threadline demo --large`: before the working day, a year of a small company. The host's statements are real, and triggers capture
 * them. Their times are set afterwards; the application name of each transaction says that they are made up.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Evidence from "../../src/Evidence.js"
import * as SavedViews from "../../src/SavedViews.js"
import * as Print from "./print.js"
import { viewer } from "./traffic.js"
import { year, yearTimes } from "./year.js"

const days = 365
const perDay = 24

/** Runs the statements of the year, then sets their times. */
export const liveYear = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  yield* Print.text(`Living a year: ${days} days, up to ${perDay} transactions each. It takes about half a minute.`)
  yield* sql.unsafe(year)
  yield* sql`call threadline_demo.live_a_year(${days}, ${perDay})`
  yield* sql.withTransaction(sql.unsafe(yearTimes))
  yield* sql`analyze`
})

/** Saves some views, and evidence of a year. */
export const governance = Effect.gen(function* () {
  const views = [
    { name: "Deleted users", filter: { table: "threadline_demo.users", op: "delete" }, since: undefined },
    { name: "By hand, this week", filter: { unattributed: true }, since: "7d" },
    { name: "Corrections of the month", filter: { action: "invoice.corrected" }, since: "30d" }
  ] as const
  for (const view of views) {
    yield* SavedViews.save({ owner: { type: viewer.type, id: viewer.id }, ...view })
  }
  for (const subject of ["trigger_coverage", "redaction_policy"] as const) {
    yield* Evidence.derive(subject, { reference: "demo" })
  }
})
