/**
 * Decodes the options of an export. A wrong option is an `InvalidRequest` before any query.
 */
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import * as Actor from "../../Actor.js"
import { InvalidRequest } from "../../ThreadlineError.js"
import { choice, notAnObject, Order, request, ShortText } from "../core/request.js"
import { nearest } from "../core/suggest.js"
import { decodeEverything, type Everything, type EverythingFilter } from "../search/everything.js"
import { type Column, contractColumns, isColumn, personColumns } from "./columns.js"
import { availability } from "./compression.js"
import type { ExportError } from "./exportError.js"
import { type Compression, compressions, type Format, formats, type Shape, shapes } from "./formats.js"

/** The version of each format. It rises if readers of the format must change. */
export const formatVersions: Readonly<Record<Format, number>> = { csv: 1, ndjson: 1, json: 1, parquet: 1 }

/** Whether a format has columns to choose from. */
export const hasColumns = (format: Format): boolean => format === "csv" || format === "parquet"

/** The compression of the whole file. In a Parquet file, each page is compressed by itself. */
export const outerCompression = ({
  compression,
  format
}: {
  readonly format: Format
  readonly compression?: Compression | null | undefined
}): Compression | undefined => (format === "parquet" ? undefined : (compression ?? undefined))

export interface Options {
  /** The form of the file: a CSV, JSON with one change a line (`ndjson`), one JSON document, or Parquet. */
  readonly format: Format
  /** The filter, as for a timeline; all changes unless given. If a decoded filter has options of pages, they are ignored. */
  readonly filter?: EverythingFilter | undefined
  /** `oldest` first unless given. */
  readonly order?: "newest" | "oldest" | undefined
  /** The most changes, from 1; all of them unless given. */
  readonly limit?: number | undefined
  /** For a CSV or Parquet: the columns, in order. */
  readonly columns?: ReadonlyArray<string> | undefined
  /** For a CSV: no mark in front of cells that a spreadsheet takes for formulas. */
  readonly raw?: boolean | undefined
  /** Of NDJSON: the form in which another system reads a change, instead of its JSON. */
  readonly shape?: Shape | undefined
  /** The compression of the file, or of the pages of a Parquet file; none unless given. */
  readonly compression?: Compression | undefined
  /** Who asked for the export; the actor of the context unless given. */
  readonly requestedBy?: Actor.Actor | undefined
  /** The host's name of the scope, for the manifest. */
  readonly scopeName?: string | undefined
}

const flagRule = { message: () => "must be true or false" }

const countRule = "must be a whole number, at least 1"

const ExportRequest = Schema.Struct({
  format: choice(...formats),
  filter: Schema.optional(Schema.Unknown),
  order: Schema.optionalWith(Order, { default: () => "oldest" as const }),
  limit: Schema.optional(
    Schema.Number.annotations({ message: () => countRule }).pipe(
      Schema.filter((value) => Number.isSafeInteger(value) && value >= 1, { message: () => countRule })
    )
  ),
  columns: Schema.optional(
    Schema.Array(Schema.String).annotations({
      message: () => ({ message: "must be a list of columns", override: true })
    })
  ),
  raw: Schema.optionalWith(Schema.Boolean.annotations(flagRule), { default: () => false }),
  shape: Schema.optional(choice(...shapes)),
  compression: Schema.optional(choice(...compressions)),
  requestedBy: Schema.optional(Schema.Unknown),
  scopeName: Schema.optional(ShortText)
})

/** A decoded request. */
export interface Request {
  readonly format: Format
  readonly filter: Everything
  readonly order: "newest" | "oldest"
  readonly limit: number | undefined
  readonly columns: ReadonlyArray<Column>
  readonly raw: boolean
  readonly shape: Shape | undefined
  readonly compression: Compression | undefined
  readonly requestedBy: Actor.Actor | undefined
  readonly scopeName: string | undefined
}

const refused = (field: string, rule: string, suggestion?: string) =>
  Either.left(new InvalidRequest(suggestion === undefined ? { field, rule } : { field, rule, suggestion }))

const columnsOf = (
  format: Format,
  given: ReadonlyArray<string> | undefined
): Either.Either<ReadonlyArray<Column>, InvalidRequest> => {
  if (given === undefined) {
    return Either.right(contractColumns)
  }
  if (!hasColumns(format)) {
    return refused("columns", `are those of a CSV or of Parquet: ${format} has every field`)
  }
  if (given.length === 0) {
    return refused("columns", "must name at least one column")
  }
  const knownColumns: Array<Column> = []
  for (const name of given) {
    if (!isColumn(name)) {
      return refused(
        "columns",
        `must name columns of an export, and ${JSON.stringify(name)} is none`,
        nearest(name, [...contractColumns, ...personColumns])
      )
    }
    if (knownColumns.includes(name)) {
      return refused("columns", `must name each column once, and ${name} stands there twice`)
    }
    knownColumns.push(name)
  }
  return Either.right(knownColumns)
}

const actorOf = (given: unknown): Either.Either<Actor.Actor | undefined, InvalidRequest> => {
  if (given === undefined) {
    return Either.right(undefined)
  }
  const refusal = Actor.invalid(given as Actor.Actor, "requestedBy")
  return refusal === undefined ? Either.right(given as Actor.Actor) : Either.left(refusal)
}

export const decodeOptions = (options: Options): Either.Either<Request, InvalidRequest | ExportError> =>
  Either.gen(function* () {
    const decoded = yield* request(ExportRequest)(options)
    const refusal = decoded.filter === undefined ? undefined : notAnObject(decoded.filter, "filter")
    if (refusal !== undefined) {
      return yield* Either.left(refusal)
    }
    const filter = yield* decodeEverything(decoded.filter ?? {})
    const { compression, format, limit, order, raw, scopeName, shape } = decoded
    if (raw && format !== "csv") {
      return yield* refused("raw", `is about the cells of a CSV: ${format} has none`)
    }
    if (shape !== undefined && format !== "ndjson") {
      return yield* refused("shape", `is one of NDJSON: ${format} has none`)
    }
    if (format === "parquet" && compression === "gzip") {
      return yield* refused("compression", "is inside of a Parquet file: leave it out for Snappy, or say zstd")
    }
    const columns = yield* columnsOf(format, decoded.columns)
    const requestedBy = yield* actorOf(decoded.requestedBy)
    if (compression !== undefined) {
      yield* format === "parquet" ? availability(compression, "Snappy needs no option") : availability(compression)
    }
    return {
      format: format,
      filter,
      order,
      limit,
      columns,
      raw,
      shape,
      compression: compression,
      requestedBy,
      scopeName
    }
  })
