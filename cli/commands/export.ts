import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Export from "../../src/Export.js"
import * as Json from "../../src/Json.js"
import { many } from "../../src/internal/core/words.js"
import { configuration, migratedClient, withSchema } from "../database.js"
import { AnsweredNo, UsageError } from "../exit.js"
import { format, inOptions, requestOf, requestOptions } from "../exporting.js"
import { common, flag, value } from "../options.js"
import { answerExact, print, printDocument, visible } from "../output.js"
import { argument, type Given, leaf } from "../parser/declare.js"
import { sizeText, withProgress } from "../progress.js"
import { pathOf, Surroundings } from "../surroundings.js"

const exportOptions = {
  ...common,
  format: format("What is written; default: what the ending of --output says."),
  output: value(
    "output",
    "FILE",
    "Write this file and FILE.manifest.json; default: standard output. A name that ends in .gz or .zst compresses."
  ),
  force: flag("force", "Replace an existing file."),
  scopeName: value("scope-name", "NAME", "The name of the scope in the manifest, if there is one."),
  ...requestOptions
}

type Options = Given<typeof exportOptions>

const refuse = (message: string) => new UsageError({ message })

const asked = Effect.fnUntraced(function* (options: Options) {
  const output = Option.getOrUndefined(options.output)
  const request = yield* requestOf(options, output)
  if (output === undefined && (options.json || options.force)) {
    return yield* refuse(
      `--${options.json ? "json prints the manifest of a file" : "force replaces a file"}: give it with --output`
    )
  }
  return { ...request, scopeName: Option.getOrUndefined(options.scopeName) }
})

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
    return yield* request.compression === undefined && request.format !== "parquet"
      ? printed(Export.stream(request), request.format)
      : refuse(
          `${request.format === "parquet" ? "Parquet" : "what is compressed"} is not for a terminal: give --output, or send it elsewhere`
        )
  }
  yield* withProgress((onProgress) => Export.runForEach({ ...request, onProgress }, write))
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
        `${many(manifest.count, "record")}, ${sizeText(manifest.bytes)} in ${file}; its manifest is ${file}.manifest.json.`
      )
  )
})

export const exported = leaf("export", exportOptions, (options) =>
  Effect.gen(function* () {
    const request = yield* asked(options)
    // This is wrong no matter what the database holds, so the database is not asked.
    yield* Effect.suspend(() => Export.validate(request)).pipe(inOptions(options))
    const configured = yield* configuration(options)
    const layer = Layer.provide(Export.layerWith({ record: configured.exports.record }), migratedClient(options))
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
                  onSome: ({ bytes, count }) => `${many(count, "record")}, ${sizeText(bytes)}.`
                })}`
              )
            : differences
                .map(({ expected, field, found }) => visible(`${field}: expected ${expected}, found ${found}`))
                .join("\n")
      )
      return fine ? undefined : yield* new AnsweredNo()
    })
)
