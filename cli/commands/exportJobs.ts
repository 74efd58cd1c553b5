import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Export from "../../src/Export.js"
import * as ExportJobs from "../../src/ExportJobs.js"
import * as Json from "../../src/Json.js"
import { many } from "../../src/internal/core/words.js"
import { when, who } from "../describe.js"
import { AnsweredNo, UsageError } from "../exit.js"
import { inOptions, format, requestOf, requestOptions, requesterOf } from "../exporting.js"
import { inJobs, scopeOf, scopeOptions, storeOptions, workingInJobs } from "../jobs.js"
import { choices, common, flag, value } from "../options.js"
import { answerExact, print, visible } from "../output.js"
import { argument, leaf } from "../parser/declare.js"
import { more } from "../reading.js"
import { durationText, progressText, sizeText } from "../progress.js"
import { pathOf, showStatus, Surroundings } from "../surroundings.js"
import { layout } from "../table.js"
import { actorOf } from "../filter.js"
import { wholeNumber } from "../values.js"

const id = argument("ID", "The id of the job.")

const args = { id: "ID" }

/** What a job has done, in a few words. */
const resultOf = ({ bytes, error, records, state }: ExportJobs.Job): string =>
  error !== null && state !== "completed"
    ? visible(`${error.reason}: ${error.detail}`)
    : records === 0 && state !== "completed"
      ? ""
      : `${many(records, "record")}, ${sizeText(bytes)}`

const table = (jobs: ReadonlyArray<ExportJobs.Job>, width: number): string =>
  layout(
    [
      { header: "job", rigid: true },
      { header: "state", rigid: true },
      { header: "format", rigid: true },
      { header: "asked (UTC)", rigid: true },
      { header: "by" },
      { header: "result" }
    ],
    jobs.map((job) => [
      job.id,
      job.state,
      job.request.format,
      when(job.requestedAt),
      job.requestedBy === null ? "" : who(job.requestedBy),
      resultOf(job)
    ]),
    width
  )

const lines = (job: ExportJobs.Job): string => {
  const { attempt, attempts, error, expiresAt, file, finishedAt, manifest, rate, request, requestedAt, requestedBy } =
    job
  const rows: ReadonlyArray<readonly [string, string | null]> = [
    ["state", job.state],
    ["format", `${request.format}${request.compression === null ? "" : `, ${request.compression}`}`],
    ["filter", Json.stringify(request.filter)],
    ["scope", job.scope === null ? null : Json.stringify(job.scope)],
    ["asked", `${when(requestedAt)} UTC${requestedBy === null ? "" : ` by ${who(requestedBy)}`}`],
    ["schedule", job.schedule === null ? null : `${job.schedule}, tick ${when(job.tick ?? "")} UTC`],
    ["attempt", attempt === 0 ? null : `${attempt} of ${attempts}`],
    ["next attempt", job.state === "queued" && attempt > 0 ? `${when(job.availableAt)} UTC` : null],
    ["result", resultOf(job) === "" ? null : resultOf(job)],
    ["rate", rate === null ? null : `${rate} a second`],
    [
      "left",
      job.state !== "running" || rate === null || rate === 0 || job.estimate === null || job.estimate <= job.records
        ? null
        : `about ${durationText((job.estimate - job.records) / rate)}`
    ],
    ["last error", error === null || job.state === "failed" ? null : `${error.reason}: ${error.detail}`],
    ["finished", finishedAt === null ? null : `${when(finishedAt)} UTC`],
    ["file", file],
    ["kept until", job.state !== "completed" || expiresAt === null ? null : `${when(expiresAt)} UTC`],
    ["SHA-256", manifest === null ? null : manifest.sha256]
  ]
  return rows.flatMap(([name, text]) => (text === null ? [] : [`${name.padEnd(12)}  ${visible(text)}`])).join("\n")
}

const answerJob = (options: { readonly json: boolean; readonly wide: boolean }, job: ExportJobs.Job, text: string) =>
  answerExact(
    options,
    () => Json.stringify(job),
    () => text
  )

export const queue = leaf(
  "export queue",
  { ...common, format: format("What is written."), ...scopeOptions, ...requestOptions },
  (options) =>
    Effect.gen(function* () {
      const request = yield* requestOf(options)
      const scope = yield* scopeOf(options)
      // This is wrong no matter what the database holds, so the database is not asked.
      yield* Effect.suspend(() => Export.validate(request)).pipe(inOptions(options))
      const job = yield* inJobs(options, ExportJobs.queue({ ...request, scope })).pipe(inOptions(options))
      yield* answerJob(
        options,
        job,
        `The export ${job.id} is queued; "threadline export job ${job.id}" shows how far it is.`
      )
    })
)

export const list = leaf(
  "export jobs",
  {
    ...common,
    state: choices(
      "state",
      ["queued", "running", "completed", "failed", "cancelled", "expired"],
      "STATE",
      "Only these: queued, running, completed, failed, cancelled, expired."
    ),
    schedule: value("schedule", "NAME", "Only jobs of this schedule."),
    requestedBy: value("requested-by", "TYPE[:ID]", "Only jobs that this actor asked for, such as user:42."),
    limit: value("limit", "NUMBER", "How many, 1 to 1000; default: 50."),
    cursor: value("cursor", "CURSOR", "Continue where the previous page ended."),
    ...scopeOptions
  },
  (options) =>
    Effect.gen(function* () {
      const actor = yield* actorOf("--requested-by", options.requestedBy)
      const page = yield* inJobs(
        options,
        ExportJobs.list({
          state: options.state.length === 0 ? undefined : options.state,
          schedule: Option.getOrUndefined(options.schedule),
          requestedBy: actor,
          limit: yield* wholeNumber("--limit", options.limit, 1, 1000),
          cursor: Option.getOrUndefined(options.cursor),
          scope: yield* scopeOf(options)
        })
      ).pipe(inOptions(options))
      yield* answerExact(
        options,
        () => Json.stringify(page),
        (width) =>
          [page.items.length === 0 ? "There is no such job." : table(page.items, width), ...more(page)].join("\n")
      )
    })
)

const onOne = <Name extends "export job" | "export cancel" | "export retry">(
  name: Name,
  call: (
    id: string,
    options: ExportJobs.ScopeOption
  ) => Effect.Effect<ExportJobs.Job, ExportJobs.Failure, ExportJobs.ExportJobs>,
  text: (job: ExportJobs.Job) => string
) =>
  leaf(name, { ...common, ...scopeOptions, id }, (options) =>
    Effect.gen(function* () {
      const scope = yield* scopeOf(options)
      const job = yield* inJobs(options, call(options.id, { scope })).pipe(inOptions(options, args))
      yield* answerJob(options, job, text(job))
    })
  )

export const job = onOne("export job", ExportJobs.get, lines)

export const cancel = onOne("export cancel", ExportJobs.cancel, ({ id }) => `The export ${id} is cancelled.`)

export const retry = onOne("export retry", ExportJobs.retry, ({ id }) => `The export ${id} is queued again.`)

/** A line for each job that has ended. */
const endedText = (ended: ExportJobs.Job): string =>
  `export ${ended.id} ${ended.state}${resultOf(ended) === "" ? "" : `: ${resultOf(ended)}`}`

const ranText = ({ completed, expired, failed, postponed }: ExportJobs.Ran): string =>
  completed + expired + failed + postponed === 0
    ? "There was nothing to do."
    : [
        `${completed} completed`,
        `${failed} failed`,
        ...(postponed === 0 ? [] : [`${postponed} to be tried again`]),
        ...(expired === 0 ? [] : [`${expired} expired`])
      ].join(", ") + "."

export const run = leaf(
  "export run",
  {
    ...common,
    ...storeOptions,
    once: flag("once", "Run every waiting job, then end."),
    watch: flag("watch", "Run jobs as they come, until interrupted."),
    concurrency: value("concurrency", "NUMBER", "Jobs at the same time, 1 to 16; default: 1.")
  },
  (options) =>
    Effect.gen(function* () {
      if (options.once === options.watch) {
        return yield* new UsageError({ message: "say how to run: --once or --watch" })
      }
      if (options.watch && options.json) {
        return yield* new UsageError({ message: "--json prints one document: give it with --once" })
      }
      const concurrency = yield* wholeNumber("--concurrency", options.concurrency, 1, 16)
      const { terminal } = yield* Surroundings
      const columns = Option.match(terminal, { onNone: () => 80, onSome: (screen) => screen.columns })
      const onProgress = ({ job: running, ...progress }: ExportJobs.Progress) =>
        Effect.suspend(() =>
          showStatus(`export ${running.id}: ${progressText(progress, progress.seconds)}`.slice(0, columns - 1))
        )
      const onEnded = (ended: ExportJobs.Job) =>
        Effect.zipRight(showStatus(""), options.json ? Effect.void : print(options, () => endedText(ended)))
      const given = { concurrency, onProgress, onEnded }
      if (options.watch) {
        return yield* Effect.ensuring(workingInJobs(options, ExportJobs.watch(given)), showStatus("")).pipe(
          inOptions(options)
        )
      }
      const ran = yield* Effect.ensuring(workingInJobs(options, ExportJobs.run(given)), showStatus("")).pipe(
        inOptions(options)
      )
      yield* answerExact(
        options,
        () => Json.stringify(ran),
        () => ranText(ran)
      )
      return ran.failed > 0 ? yield* new AnsweredNo() : undefined
    })
)

export const download = leaf(
  "export download",
  {
    ...common,
    ...storeOptions,
    ...scopeOptions,
    output: value("output", "FILE", "Write this file and FILE.manifest.json; default: standard output."),
    force: flag("force", "Replace an existing file."),
    requestedBy: value("requested-by", "TYPE[:ID]", "Who downloads it, such as user:42: kept in the record."),
    id
  },
  (options) =>
    Effect.gen(function* () {
      const { terminal, write } = yield* Surroundings
      const output = Option.getOrUndefined(options.output)
      const scope = yield* scopeOf(options)
      const actor = yield* requesterOf(options.requestedBy)
      if (output === undefined) {
        if (options.json || options.force || Option.isSome(terminal)) {
          return yield* new UsageError({ message: "--output is missing: the file to write" })
        }
        return yield* inJobs(
          options,
          Effect.flatMap(ExportJobs.download(options.id, { scope }), ({ bytes }) => Stream.runForEach(bytes, write)),
          actor
        ).pipe(inOptions(options, args))
      }
      const path = yield* pathOf(output)
      const manifest = yield* inJobs(
        options,
        ExportJobs.downloadTo(options.id, path, { scope, force: options.force }),
        actor
      ).pipe(inOptions(options, args))
      yield* answerExact(
        options,
        () => Json.stringify(manifest),
        () =>
          visible(
            `${many(manifest.count, "record")}, ${sizeText(manifest.bytes)} in ${output}; its manifest is ${output}.manifest.json.`
          )
      )
    })
)

export const expire = leaf("export expire", { ...common, ...storeOptions }, (options) =>
  Effect.gen(function* () {
    const expired = yield* inJobs(options, ExportJobs.expire).pipe(inOptions(options))
    yield* answerExact(
      options,
      () => Json.stringify({ expired }),
      () => `${many(expired, "file has", "files have")} expired.`
    )
  })
)
