/** Options that say what to export. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Export from "../src/Export.js"
import { compressionOf, formatOf } from "../src/internal/core/fileEnding.js"
import { UsageError } from "./exit.js"
import { actorOf, changeFilterOf, changeFilters } from "./filter.js"
import { choice, flag, value } from "./options.js"
import type { Given } from "./parser/declare.js"
import { inWordsOf, nameOf } from "./reading.js"
import { wholeNumber } from "./values.js"

const formats = Export.Manifest.fields.format.literals

const shapes = Export.Manifest.fields.shape.members[0].literals

/** Which changes, and how they are written. */
export const requestOptions = {
  gzip: flag("gzip", "Compress by gzip."),
  zstd: flag("zstd", "Compress by zstd, if Node.js has it."),
  columns: value(
    "columns",
    "NAMES",
    `Of a CSV or Parquet, with commas between them; for people: ${Export.personColumns.join(",")}.`
  ),
  raw: flag("raw", "In a CSV, put no ' before cells that a spreadsheet takes for formulas."),
  shape: choice("shape", shapes, "Of NDJSON: the form in which another system reads a change."),
  newestFirst: flag("newest-first", "Begin with the newest change instead of the oldest."),
  limit: value("limit", "NUMBER", "The most changes; default: all."),
  requestedBy: value(
    "requested-by",
    "TYPE[:ID]",
    "Who asked for it, such as user:42: kept in the manifest and the record."
  ),
  ...changeFilters
}

export const format = (description: string) => choice("format", formats, description)

type Options = Given<typeof requestOptions> & { readonly format: Option.Option<Export.Format> }

const refuse = (message: string) => new UsageError({ message })

/** The actor of `--requested-by`. */
export const requesterOf = Effect.fnUntraced(function* (text: Option.Option<string>) {
  const actor = yield* actorOf("--requested-by", text)
  if (actor !== undefined && actor.type !== "anonymous" && actor.id === undefined) {
    return yield* refuse(`--requested-by ${actor.type} needs an id: ${actor.type}:ID`)
  }
  return actor === undefined
    ? undefined
    : actor.type === "anonymous"
      ? { type: actor.type }
      : { type: actor.type, id: actor.id ?? "" }
})

/** The request that the options make. The ending of the file's name may give the format and the compression. */
export const requestOf = Effect.fnUntraced(function* (
  options: Options,
  output?: string
): Effect.fn.Return<Export.Options, UsageError> {
  const shape = Option.getOrUndefined(options.shape)
  const format =
    Option.getOrUndefined(options.format) ??
    (output === undefined ? undefined : formatOf(output, formats)) ??
    (shape === undefined ? undefined : "ndjson")
  if (format === undefined) {
    return yield* refuse(`--format is missing: one of ${formats.join(", ")}`)
  }
  if (options.gzip && options.zstd) {
    return yield* refuse("--gzip and --zstd are two compressions: give one of them")
  }
  const asked = options.gzip ? "gzip" : options.zstd ? "zstd" : undefined
  const ending = output === undefined ? undefined : compressionOf(output)
  if (format === "parquet" && ending !== undefined) {
    return yield* refuse("--output: Parquet is compressed inside, so the name of its file does not end in .gz or .zst")
  }
  if (asked !== undefined && ending !== undefined && asked !== ending) {
    return yield* refuse(`--${asked} and the ending of --output are two compressions: give one of them`)
  }
  if (asked === "gzip" && format === "parquet") {
    return yield* refuse("--gzip is for other formats: Parquet is compressed inside, by Snappy unless --zstd is given")
  }
  const limit = yield* wholeNumber("--limit", options.limit, 1)
  return {
    format,
    filter: yield* changeFilterOf(options),
    order: options.newestFirst ? "newest" : "oldest",
    limit,
    columns: Option.getOrUndefined(Option.map(options.columns, (names) => names.split(",").map((name) => name.trim()))),
    raw: options.raw,
    shape,
    compression: asked ?? ending,
    requestedBy: yield* requesterOf(options.requestedBy)
  }
})

/** A refusal in the words of the options; `args` names the fields that are arguments of the command. */
export const inOptions = (options: object, args: Readonly<Record<string, string>> = {}) =>
  inWordsOf((field) => nameOf(options, args, field.replace(/\..*$/, "")))
