import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Continuity from "../../src/Continuity.js"
import * as TableName from "../../src/TableName.js"
import type { Configuration } from "../config.js"
import { captureClient, configuration, inputFirst, withSchema } from "../database.js"
import { baselinesText, readinessText } from "../describeHealth.js"
import { AnsweredNo } from "../exit.js"
import { type Common, common, flag, value, values } from "../options.js"
import { answer, visible } from "../output.js"
import { leaf } from "../parser/declare.js"
import { Surroundings } from "../surroundings.js"
import { wholeNumber } from "../values.js"

const inDatabase = <A, E>(
  options: Common,
  configured: Configuration,
  call: Effect.Effect<A, E, Continuity.Continuity>
) => inputFirst(Effect.provide(call, Continuity.layer), captureClient(options)).pipe(withSchema(options, configured))

/** A line that is rewritten on a terminal, and nothing elsewhere. */
const progressLine = ({ blocks, blocksDone, recorded, table, waiting }: Continuity.Progress): string =>
  `${visible(table)}: ${blocks === 0 ? 100 : Math.floor((100 * blocksDone) / blocks)} %, ${recorded} rows${waiting > 0 ? `, waiting for writers in ${waiting} places` : ""}`

/** Records baselines, with a line of progress on a terminal. */
export const recordBaselines = (
  options: Common,
  configured: Configuration,
  wanted: Pick<Continuity.BaselineOptions, "tables" | "batchSize">
) =>
  Effect.gen(function* () {
    const { status } = yield* Surroundings
    const show = Option.getOrElse(status, () => () => Effect.void)
    return yield* inDatabase(
      options,
      configured,
      Continuity.baseline({ ...wanted, onProgress: (progress) => show(progressLine(progress)) })
    ).pipe(Effect.ensuring(show("")))
  })

const table = values("table", "TABLE", "A table as in SQL, such as public.posts; default: every captured table.")

const encodeReadiness = Schema.encodeSync(Schema.Struct({ tables: Schema.Array(Continuity.Readiness) }))

export const check = leaf(
  "continuity check",
  { ...common, table, strict: flag("strict", "Fail (exit code 1) if something cannot be answered.") },
  (options) =>
    Effect.gen(function* () {
      const configured = yield* configuration(options)
      const names = yield* Effect.forEach(options.table, (text) => TableName.parse(text, "--table"))
      const answers = yield* inDatabase(
        options,
        configured,
        Continuity.check({
          tables: names.length === 0 ? configured.tables : names.map((name) => ({ table: TableName.format(name) }))
        })
      )
      const chosen = names.map(TableName.format)
      const tables = answers.filter((table) => chosen.length === 0 || chosen.includes(table.table))
      yield* answer(
        options,
        () => encodeReadiness({ tables }),
        (width) => (tables.length === 0 ? "No table is captured." : readinessText(tables, width))
      )
      if (options.strict && tables.some(({ answers }) => answers.some(({ why }) => why !== null))) {
        return yield* new AnsweredNo()
      }
    })
)

const encodeResults = Schema.encodeSync(Schema.Struct({ tables: Schema.Array(Continuity.BaselineResult) }))

export const baseline = leaf(
  "continuity baseline",
  {
    ...common,
    table,
    batchSize: value("batch-size", "ROWS", "About how many rows are locked at a time; default: 500.")
  },
  (options) =>
    Effect.gen(function* () {
      const configured = yield* configuration(options)
      const batchSize = yield* wholeNumber("--batch-size", options.batchSize, 1)
      const tables = yield* recordBaselines(options, configured, {
        ...(options.table.length === 0 ? {} : { tables: options.table }),
        ...(batchSize === undefined ? {} : { batchSize })
      })
      yield* answer(
        options,
        () => encodeResults({ tables }),
        (width) => baselinesText(tables, width)
      )
      if (tables.some(({ state }) => state === "waiting")) {
        return yield* new AnsweredNo()
      }
    })
)
