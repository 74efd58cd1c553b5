import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { writeFile } from "node:fs/promises"
import * as Capture from "../../src/Capture.js"
import * as Evidence from "../../src/Evidence.js"
import * as Health from "../../src/Health.js"
import * as Json from "../../src/Json.js"
import type * as Page from "../../src/Page.js"
import * as Query from "../../src/Query.js"
import * as Retention from "../../src/Retention.js"
import type { Configuration } from "../config.js"
import { configuration, inputFirst, migratedClient, withSchema } from "../database.js"
import { actorOrUser, when } from "../describe.js"
import { Refused, UsageError } from "../exit.js"
import { identifiedActorOf } from "../filter.js"
import { choice, type Common, common, flag, value, values } from "../options.js"
import { answerExact, visible } from "../output.js"
import { argument, leaf } from "../parser/declare.js"
import { inWordsOf, listed, nameOf, paging, pagingOf } from "../reading.js"
import { pathOf } from "../surroundings.js"
import { layout } from "../table.js"
import { window, windowOf } from "../window.js"

const sources = Layer.mergeAll(Evidence.layer, Capture.layer, Health.layer, Query.layer, Retention.layer)

const inEvidence = <A, E>(
  options: Common,
  call: (configured: Configuration) => Effect.Effect<A, E, Evidence.Sources>,
  args: Readonly<Record<string, string>> = {}
) =>
  Effect.flatMap(configuration(options), (configured) =>
    inputFirst(Effect.provide(call(configured), sources), migratedClient(options)).pipe(
      withSchema(options, configured),
      inWordsOf((field) =>
        field.startsWith("detail.") ? `--detail: ${field.slice("detail.".length)}` : nameOf(options, args, field)
      )
    )
  )

const names = { subject: "SUBJECT", reference: "REF" }

const isSubject = (text: string): text is Evidence.Subject => Evidence.subjects.some((one) => one === text)

const subjectOf = (text: string): Effect.Effect<Evidence.Subject, UsageError> =>
  isSubject(text)
    ? Effect.succeed(text)
    : Effect.fail(new UsageError({ message: `SUBJECT: must be one of ${Evidence.subjects.join(", ")}` }))

const recordText = (record: Evidence.EvidenceRecord): string =>
  [
    `evidence ${record.id}: ${record.subject} of ${record.reference}`,
    `status    ${record.status}, ${record.origin === "derived" ? "derived by Threadline" : "as the host says"}`,
    `recorded  ${when(record.recordedAt)} UTC by ${actorOrUser(record)} (role ${record.dbUser})`,
    `detail    ${Json.stringify(record.detail)}`
  ]
    .map(visible)
    .join("\n")

const recordsTable = (page: Page.Page<Evidence.EvidenceRecord>, width: number): string =>
  layout(
    [
      { header: "record", rigid: true },
      { header: "recorded (UTC)", rigid: true },
      { header: "subject", rigid: true },
      { header: "reference" },
      { header: "status", rigid: true },
      { header: "origin", rigid: true },
      { header: "by" }
    ],
    page.items.map((record) => [
      record.id,
      when(record.recordedAt),
      record.subject,
      record.reference,
      record.status,
      record.origin,
      actorOrUser(record)
    ]),
    width
  )

const answerPage = (options: Common & { readonly json: boolean }, page: Page.Page<Evidence.EvidenceRecord>) =>
  answerExact(
    options,
    () => Json.stringify(page),
    (width) => listed(page, "No evidence is recorded.", () => [recordsTable(page, width)])
  )

const subjectArgument = argument("SUBJECT", `One of ${Evidence.subjects.join(", ")}.`)
const refArgument = argument("REF", "What it is about, such as an environment or the id of a run.")

export const record = leaf(
  "evidence record",
  {
    ...common,
    subject: subjectArgument,
    ref: value("ref", "REF", "What it is about, such as an environment or the id of a run."),
    status: choice("status", ["ok", "attention", "failed"], "How it stands; without --derive."),
    detail: value("detail", "JSON", "The content of the record; without --derive."),
    actor: value("actor", "TYPE:ID", "Who records it, such as user:42."),
    derive: flag("derive", "Take the content from the services, and mark it as derived."),
    run: value("run", "ID", "With --derive retention_run: which run; default: the newest."),
    action: value("action", "ID", "With --derive export_delivery: which action; default: the newest export.")
  },
  (options) =>
    Effect.gen(function* () {
      const subject = yield* subjectOf(options.subject)
      const actor = yield* identifiedActorOf("--actor", options.actor)
      const reference = Option.getOrUndefined(options.ref)
      if (reference === undefined || reference === "") {
        return yield* new UsageError({ message: "--ref says what the evidence is about, and must not be empty" })
      }
      if (options.derive && (Option.isSome(options.status) || Option.isSome(options.detail))) {
        return yield* new UsageError({
          message: "--derive finds status and detail itself: leave --status and --detail out"
        })
      }
      const detail = Option.isNone(options.detail) ? undefined : Option.getOrUndefined(Json.parse(options.detail.value))
      const status = Option.getOrUndefined(options.status)
      if (!options.derive && (status === undefined || detail === undefined)) {
        return yield* new UsageError({
          message: Option.isSome(options.detail)
            ? "--detail must be JSON, and --status one of ok, attention, failed"
            : "give --status and --detail, or --derive"
        })
      }
      const recorded = yield* inEvidence(
        options,
        ({ health, retention, tables }) =>
          options.derive
            ? Evidence.derive(subject, {
                reference,
                actor,
                health: { tables, ...health },
                policy: retention,
                run: Option.getOrUndefined(options.run),
                action: Option.getOrUndefined(options.action)
              })
            : // The detail is checked by the schema of its subject.
              Evidence.recordUnknown(subject, { reference, status, detail, actor }),
        { subject: "SUBJECT", reference: "--ref" }
      )
      yield* answerExact(
        options,
        () => Json.stringify(recorded),
        () => recordText(recorded)
      )
    })
)

export const list = leaf(
  "evidence list",
  {
    ...common,
    subject: value("subject", "SUBJECT", "Only of this subject."),
    ref: value("ref", "REF", "Only about this."),
    status: choice("status", ["ok", "attention", "failed"], "Only of this status."),
    origin: choice("origin", ["derived", "host"], "Only what Threadline found itself, or what a host said."),
    ...window,
    ...paging
  },
  (options) =>
    Effect.gen(function* () {
      const subject = Option.isNone(options.subject) ? undefined : yield* subjectOf(options.subject.value)
      const filter = {
        subject,
        reference: Option.getOrUndefined(options.ref),
        status: Option.getOrUndefined(options.status),
        origin: Option.getOrUndefined(options.origin),
        ...(yield* windowOf(options)),
        ...(yield* pagingOf(options))
      }
      yield* answerPage(options, yield* inEvidence(options, () => Evidence.list(filter), { reference: "--ref" }))
    })
)

export const latest = leaf("evidence latest", { ...common, subject: subjectArgument, ref: refArgument }, (options) =>
  Effect.gen(function* () {
    const subject = yield* subjectOf(options.subject)
    const latestRecord = yield* inEvidence(options, () => Evidence.latest(subject, options.ref), names)
    if (Option.isNone(latestRecord)) {
      return yield* new Refused({ message: `no evidence of ${subject} is recorded for ${options.ref}` })
    }
    yield* answerExact(
      options,
      () => Json.stringify(latestRecord.value),
      () => recordText(latestRecord.value)
    )
  })
)

export const history = leaf(
  "evidence history",
  { ...common, subject: subjectArgument, ref: refArgument, ...paging },
  (options) =>
    Effect.gen(function* () {
      const subject = yield* subjectOf(options.subject)
      const pages = yield* pagingOf(options)
      yield* answerPage(options, yield* inEvidence(options, () => Evidence.history(subject, options.ref, pages), names))
    })
)

export const overview = leaf("evidence overview", common, (options) =>
  Effect.gen(function* () {
    const standings = yield* inEvidence(options, () => Evidence.overview)
    yield* answerExact(
      options,
      () => Json.stringify({ subjects: standings }),
      (width) =>
        layout(
          [
            { header: "subject", rigid: true },
            { header: "verdict", rigid: true },
            { header: "records", rigid: true },
            { header: "derived (UTC)", rigid: true },
            { header: "the host says" }
          ],
          standings.map(({ latestByHost, latestDerived, records, subject, verdict }) => [
            subject,
            verdict,
            String(records),
            latestDerived === null ? "" : when(latestDerived.recordedAt),
            latestByHost === null ? "" : `${latestByHost.status}, ${when(latestByHost.recordedAt)}`
          ]),
          width
        )
    )
  })
)

export const proof = leaf(
  "evidence proof",
  {
    ...common,
    ...window,
    output: value("output", "FILE", "Write the document to this file."),
    looked: values("looked", "ACTION", "An action with which the host records that somebody looked; may be repeated."),
    html: flag("html", "Write a page for printing, without scripts, instead of JSON."),
    force: flag("force", "Replace an existing file.")
  },
  (options) =>
    Effect.gen(function* () {
      const { from, to } = yield* windowOf(options)
      if (from === undefined || to === undefined || Option.isNone(options.output)) {
        return yield* new UsageError({ message: "a proof needs its period and its file: --from, --to and --output" })
      }
      const file = options.output.value
      const path = yield* pathOf(file)
      const document = yield* inEvidence(
        options,
        ({ health, tables }) =>
          Evidence.proof({ from, to, health: { tables, ...health }, lookedActions: options.looked }),
        { action: "--looked" }
      )
      const text = options.html ? Evidence.toHtml(document) : `${Json.stringify(document)}\n`
      yield* Effect.tryPromise({
        try: () => writeFile(path, text, { flag: options.force ? "w" : "wx" }),
        catch: (cause) =>
          new Refused({
            message:
              cause instanceof Error && "code" in cause && cause.code === "EEXIST"
                ? `${file} is there already (--force replaces a file)`
                : `${file} cannot be written: ${cause instanceof Error ? cause.message : String(cause)}`
          })
      })
      yield* answerExact(
        options,
        () => Json.stringify({ file, from: document.from, to: document.to, incomplete: document.incomplete }),
        () => visible(`The proof is in ${file}.`)
      )
    })
)
