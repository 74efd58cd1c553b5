/**
 * What a host says about its tables beyond how they are captured: decoded, with names read.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type { ParseError } from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { InvalidRequest, type ThreadlineError } from "../../ThreadlineError.js"
import type { Name } from "../capture/catalogModel.js"
import { type Failure, fromFailure } from "../capture/failure.js"
import type { TableConfig } from "../capture/model.js"
import { invalidIn, readConfigs } from "../capture/request.js"
import { type ConfiguredTable, label, sameName } from "../capture/resolve.js"
import { reading } from "../capture/settings.js"
import type { CaptureError } from "../capture/captureError.js"
import * as ColumnName from "../core/columnName.js"
import { record } from "../core/jsonRecord.js"
import { mustHaveOnly } from "../core/request.js"
import * as TableName from "../core/tableName.js"
import type { Gap } from "./coverage.js"

const rule = (sentence: string) => ({ message: () => sentence })

const TableText = Schema.String.annotations(rule("must be the name of a table"))

const reasonRule = rule("must say in a sentence why the table is not captured")

const Reason = Schema.String.annotations(reasonRule).pipe(Schema.filter((text) => text.trim().length > 0, reasonRule))

const gapsRule = rule(`must be an object such as { "public.sessions": "holds no data of persons" }`)

/** Tables that must be captured, as `expected` of the configuration. */
export const Expected = Schema.Array(TableText).annotations(rule("must be a list of names of tables"))

/** Tables that are not captured on purpose, and why. */
export const ExpectedGaps = Schema.Union(
  Schema.Array(Schema.Struct({ table: TableText, reason: Reason }).annotations(gapsRule)),
  record(Reason)
).annotations(gapsRule)

const columnRule = rule(`must be a list of columns such as "public.users.token"`)

/** Names of columns that are sensitive beside the known ones, and columns that are recorded as they are on purpose. */
export const Sensitive = Schema.Struct({
  names: Schema.optional(
    Schema.Array(
      Schema.String.annotations(rule("must be a word")).pipe(
        Schema.filter((text) => /[\p{L}\p{N}]/u.test(text), rule("must be a word"))
      )
    ).annotations(rule("must be a list of words"))
  ),
  acknowledged: Schema.optional(
    Schema.Union(
      Schema.Array(Schema.String.annotations(columnRule)).annotations(columnRule),
      record(Reason)
    ).annotations(columnRule)
  )
}).annotations(rule(`must be an object such as { acknowledged: ["public.users.token"] }`))

/**
 * What health compares the database with. Every field is one of the configuration.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How tables are to be captured. */
  readonly tables?: ReadonlyArray<TableConfig> | undefined
  /** Tables that must be captured; those of `tables` unless given. */
  readonly expected?: ReadonlyArray<string> | undefined
  /** Tables that are not captured on purpose, each with a reason. */
  readonly expectedGaps?: typeof ExpectedGaps.Type | undefined
  /**
   * `names`, words that make the name of a column sensitive, beside the known ones; `acknowledged`, columns that are recorded as they are
   * on purpose, as a list, or as an object with reasons.
   */
  readonly sensitive?: typeof Sensitive.Type | undefined
}

const optionNames = { tables: true, expected: true, expectedGaps: true, sensitive: true } as const satisfies {
  readonly [Field in keyof Options]-?: true
}

const decode = <A, I>(schema: Schema.Schema<A, I>, field: string, input: unknown): Either.Either<A, InvalidRequest> =>
  Either.mapLeft(Schema.decodeUnknownEither(schema)(input, { onExcessProperty: "error" }), invalidIn(field))

const names = (texts: ReadonlyArray<string>, field: string): Either.Either<ReadonlyArray<Name>, InvalidRequest> =>
  Either.gen(function* () {
    const read: Array<Name> = []
    for (const [place, text] of texts.entries()) {
      const name = yield* TableName.parse(text, `${field}[${place}]`)
      if (read.some((other) => sameName(other, name))) {
        yield* Either.left(new InvalidRequest({ field, rule: `names ${label(name)} twice` }))
      }
      read.push(name)
    }
    return read
  })

/** Checked options. */
export interface Request {
  readonly configured: ReadonlyArray<ConfiguredTable> | undefined
  readonly expected: ReadonlyArray<Name> | undefined
  readonly gaps: ReadonlyArray<Gap>
  readonly sensitiveNames: ReadonlyArray<string>
  readonly acknowledged: ReadonlyArray<ColumnName.ColumnName>
}

/** Checks the options, and reads the names in them. The field of an error names what is wrong. */
export const readOptions = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<Request, CaptureError | InvalidRequest> {
  yield* mustHaveOnly(options, optionNames)
  const configured = options.tables === undefined ? undefined : yield* readConfigs(options.tables)
  const expectedTexts =
    options.expected === undefined ? undefined : yield* decode(Expected, "expected", options.expected)
  if (expectedTexts?.length === 0) {
    return yield* new InvalidRequest({ field: "expected", rule: "must name at least one table" })
  }
  const expected = expectedTexts === undefined ? undefined : yield* names(expectedTexts, "expected")
  const givenGaps: unknown = options.expectedGaps === undefined ? [] : options.expectedGaps
  if (typeof givenGaps !== "object" || givenGaps === null) {
    return yield* new InvalidRequest({
      field: "expectedGaps",
      rule: "must be an object of tables with their reasons, or a list of { table, reason }"
    })
  }
  const declared = yield* decode(ExpectedGaps, "expectedGaps", givenGaps)
  const entries = Array.isArray(declared)
    ? (declared as ReadonlyArray<{ readonly table: string; readonly reason: string }>)
    : Object.entries(declared as { readonly [table: string]: string }).map(([table, reason]) => ({ table, reason }))
  const gapNames = yield* names(
    entries.map(({ table }) => table),
    "expectedGaps"
  )
  const gaps = gapNames.map((name, place) => ({ ...name, reason: entries[place]?.reason ?? "" }))
  const contradicted = gaps.find((gap) => expected?.some((name) => sameName(name, gap)))
  if (contradicted !== undefined) {
    return yield* new InvalidRequest({
      field: "expectedGaps",
      rule: `names ${label(contradicted)}, which is expected to be captured`
    })
  }
  const sensitive = yield* decode(Sensitive, "sensitive", options.sensitive === undefined ? {} : options.sensitive)
  const acknowledged = sensitive.acknowledged ?? []
  const texts: ReadonlyArray<string> = Array.isArray(acknowledged)
    ? (acknowledged as ReadonlyArray<string>)
    : Object.keys(acknowledged)
  return {
    configured,
    expected,
    gaps,
    sensitiveNames: sensitive.names ?? [],
    acknowledged: yield* Effect.forEach(texts, (text) => ColumnName.parse(text, "sensitive.acknowledged"))
  }
})

/** Checks the options, and reads in one snapshot with them. */
export const readingWith = <A>(
  sql: SqlClient,
  options: Options,
  read: (request: Request) => Effect.Effect<A, CaptureError | ParseError | SqlError | ThreadlineError>
): Effect.Effect<A, Failure> =>
  Effect.flatMap(readOptions(options), (request) =>
    Effect.mapError(reading(sql, read(request)), (error) => fromFailure<CaptureError>(error))
  )
