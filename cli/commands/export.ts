import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Export from "../../src/Export.js"
import * as Json from "../../src/Json.js"
import { withSuggestion } from "../../src/Suggestion.js"
import { InvalidRequest } from "../../src/ThreadlineError.js"
import { configuration, migratedClient, withSchema } from "../database.js"
import { AnsweredNo, UsageError } from "../exit.js"
import { actorOf, changeFilterOf, changeFilters } from "../filter.js"
import { choice, common, flag, value } from "../options.js"
import { answerExact, print, printDocument, visible } from "../output.js"
import { argument, type Given, leaf } from "../parser/declare.js"
import { nameOf } from "../reading.js"
import { pathOf, Surroundings } from "../surroundings.js"
import { wholeNumber } from "../values.js"

const formats = ["csv", "ndjson", "json"] as const

const exportOptions = {
  ...common,
  format: choice("format", formats, "What is written; else what the ending of --output says."),
  output: value("output", "FILE", "Writes this file and FILE.manifest.json; else to standard output."),
  force: flag("force", "Replaces a file that is there."),
  gzip: flag("gzip", "Compresses by gzip."),
  zstd: flag("zstd", "Compresses by zstd, where Node.js has it."),
  columns: value(
    "columns",
    "NAMES",
    `Of a CSV, with commas between them; for people: ${Export.personColumns.join(",")}.`
  ),
  raw: flag("raw", "Of a CSV: no ' in front of cells that a spreadsheet takes for formulas."),
  newestFirst: flag("newest-first", "Begins with the newest; else with the oldest."),
  limit: value("limit", "NUMBER", "Changes at most; else all of them."),
  requestedBy: value(
    "requested-by",
    "TYPE[:ID]",
    "Who asked for it, such as user:42: kept in the manifest and the record."
  ),
  scopeName: value("scope-name", "NAME", "What the manifest calls the scope, if there is one."),
  ...changeFilters
}

type Options = Given<Omit<typeof exportOptions, never>>

/** The format that a file's name ends in. */
const endingOf = (path: string): Export.Format | undefined => {
  const ending = /\.(csv|ndjson|jsonl|json)(?:\.(?:gz|zst))?$/i.exec(path)?.[1]?.toLowerCase()
  return ending === "jsonl" ? "ndjson" : formats.find((format) => format === ending)
}

const refuse = (message: string) => new UsageError({ message })

const requestOf = Effect.fnUntraced(function* (options: Options): Effect.fn.Return<Export.Options, UsageError> {
  const output = Option.getOrUndefined(options.output)
  const format = Option.getOrUndefined(options.format) ?? (output === undefined ? undefined : endingOf(output))
  if (format === undefined) {
    return yield* refuse(`--format is missing: one of ${formats.join(", ")}`)
  }
  if (options.gzip && options.zstd) {
    return yield* refuse("--gzip and --zstd are two compressions: give one of them")
  }
  if (output === undefined && (options.json || options.force)) {
    return yield* refuse(
      `--${options.json ? "json prints the manifest of a file" : "force replaces a file"}: give it with --output`
    )
  }
  const limit = yield* wholeNumber("--limit", options.limit, 1)
  const actor = yield* actorOf("--requested-by", options.requestedBy)
  if (actor !== undefined && actor.type !== "anonymous" && actor.id === undefined) {
    return yield* refuse(`--requested-by ${actor.type} needs an id: ${actor.type}:ID`)
  }
  return {
    format,
    filter: yield* changeFilterOf(options),
    order: options.newestFirst ? "newest" : "oldest",
    limit,
    columns: Option.getOrUndefined(Option.map(options.columns, (names) => names.split(",").map((name) => name.trim()))),
    raw: options.raw,
    compression: options.gzip ? "gzip" : options.zstd ? "zstd" : undefined,
    requestedBy:
      actor === undefined
        ? undefined
        : actor.type === "anonymous"
          ? { type: "anonymous" }
          : { type: actor.type, id: actor.id ?? "" },
    scopeName: Option.getOrUndefined(options.scopeName)
  }
})

/** A refusal in the words of the options. */
const inOptions =
  (options: Options) =>
  <A, E, R>(effect: Effect.Effect<A, E | InvalidRequest, R>): Effect.Effect<A, E | UsageError, R> =>
    Effect.catchIf(
      effect,
      (error): error is Extract<E | InvalidRequest, InvalidRequest> => InvalidRequest.is(error),
      (error) => {
        const name = (field: string) => nameOf(options, {}, field.replace(/\..*$/, ""))
        return refuse(withSuggestion(`${name(error.field)}: ${error.ruleWith(name)}`, error.suggestion))
      }
    )

const units = ["B", "kB", "MB", "GB", "TB"]

const sizeText = (bytes: number): string => {
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3))
  const size = bytes / 1000 ** power
  return `${power === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${units[power] ?? ""}`
}

const durationText = (seconds: number): string =>
  seconds < 90
    ? `${Math.ceil(seconds)} s`
    : seconds < 5400
      ? `${Math.ceil(seconds / 60)} min`
      : `${(seconds / 3600).toFixed(1)} h`

/** The progress of an export. The planner estimates how many records there are. The estimate is left out after it is passed. */
const progressText = ({ bytes, estimate, records }: Export.Progress, seconds: number): string => {
  const rate = records / Math.max(seconds, 0.001)
  const left =
    estimate === undefined || estimate <= records || records === 0
      ? ""
      : ` of about ${estimate}, ${durationText((estimate - records) / rate)} left`
  return `${records} records${left}, ${sizeText(bytes)}, ${Math.round(rate)} a second`
}

const shownEvery = 200

/** Shows the progress of an export on a terminal. The line disappears at the end. */
const withProgress = <A, E, R>(
  run: (onProgress: ((progress: Export.Progress) => Effect.Effect<void>) | undefined) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.flatMap(Surroundings, ({ status, terminal }) =>
    Option.match(status, {
      onNone: () => run(undefined),
      onSome: (show) => {
        const started = performance.now()
        let shown = -Infinity
        return Effect.ensuring(
          run((progress) =>
            Effect.suspend(() => {
              const now = performance.now()
              if (now - shown < shownEvery) {
                return Effect.void
              }
              shown = now
              const columns = Option.match(terminal, { onNone: () => 80, onSome: (screen) => screen.columns })
              return show(progressText(progress, (now - started) / 1000).slice(0, columns - 1))
            })
          ),
          show("")
        )
      }
    })
  )

/** Whole lines for a terminal, without characters that move its cursor. */
const printed = (bytes: Stream.Stream<Uint8Array, Export.Failure, Export.Export>, format: Export.Format) =>
  bytes.pipe(
    Stream.decodeText(),
    Stream.splitLines,
    Stream.runForEach((line) => (format === "csv" ? print({ wide: true }, () => visible(line)) : printDocument(line)))
  )

const toOutput = Effect.fnUntraced(function* (request: Export.Options) {
  const { terminal, write } = yield* Surroundings
  if (Option.isSome(terminal)) {
    return yield* request.compression === undefined
      ? printed(Export.stream(request), request.format)
      : refuse("what is compressed is not for a terminal: give --output, or send it elsewhere")
  }
  yield* withProgress((onProgress) => Stream.runForEach(Export.stream({ ...request, onProgress }), write))
})

const toFile = Effect.fnUntraced(function* (options: Options, file: string, request: Export.Options) {
  const path = yield* pathOf(file)
  const manifest = yield* withProgress((onProgress) =>
    Export.toFile(path, { ...request, force: options.force, onProgress })
  )
  yield* answerExact(
    options,
    () => Json.stringify(manifest),
    () =>
      visible(
        `${manifest.count} record${manifest.count === 1 ? "" : "s"}, ${sizeText(manifest.bytes)} in ${file}; its manifest is ${file}.manifest.json.`
      )
  )
})

export const exported = leaf("export", exportOptions, (options) =>
  Effect.gen(function* () {
    const request = yield* requestOf(options)
    // This is wrong no matter what the database holds, so the database is not asked.
    yield* Effect.suspend(() => Export.validate(request)).pipe(inOptions(options))
    const configured = yield* configuration(options)
    const layer = Layer.provide(Export.layerWith({ record: configured.recordExports }), migratedClient(options))
    yield* Option.match(options.output, {
      onNone: () => toOutput(request),
      onSome: (file) => toFile(options, file, request)
    }).pipe(Effect.provide(layer), withSchema(options, configured), inOptions(options))
  })
)

export const verify = leaf(
  "export verify",
  { ...common, file: argument("FILE", "A file that was exported.") },
  (options) =>
    Effect.gen(function* () {
      const { differences, manifest } = yield* Effect.flatMap(pathOf(options.file), Export.verify)
      const fine = differences.length === 0
      yield* answerExact(
        options,
        () => Json.stringify({ file: options.file, fine, differences, manifest: Option.getOrNull(manifest) }),
        () =>
          fine
            ? visible(
                `${options.file} is what its manifest says: ${Option.match(manifest, {
                  onNone: () => "",
                  onSome: ({ bytes, count }) => `${count} records, ${sizeText(bytes)}.`
                })}`
              )
            : differences
                .map(({ expected, field, found }) => visible(`${field}: expected ${expected}, found ${found}`))
                .join("\n")
      )
      return fine ? undefined : yield* new AnsweredNo()
    })
)
