/**
 * How jobs end: why an attempt failed, whether another one may help, and the actions that are recorded.
 */
import type { InvalidRequest, NotFound, ThreadlineError } from "../../../ThreadlineError.js"
import type { JsonObject, JsonValue } from "../../core/jsonValue.js"
import type { ExportError } from "../exportError.js"
import type { Manifest } from "../manifest.js"
import { actionOf } from "../recorder.js"
import type { Job, JobError } from "./model.js"

export type Failure = ExportError | InvalidRequest | NotFound | ThreadlineError

/** Reasons that no further attempt changes. */
const final: ReadonlySet<string> = new Set([
  "Unsupported",
  "NotInstalled",
  "TooLarge",
  "ScopeRefused",
  "InsufficientPrivilege",
  "RecordHidden",
  "NotMigrated",
  "NewerSchema",
  "TooOld"
])

// A message of the server may contain a captured value.
const sentenceOf = ({ cause, detail, reason, sqlState }: ThreadlineError): string =>
  cause === undefined && sqlState === undefined
    ? detail
    : reason === "Unreachable"
      ? `the database could not be reached${sqlState === undefined ? "" : ` (${sqlState})`}`
      : reason === "InsufficientPrivilege"
        ? 'the role of the worker lacks a privilege; "threadline grant --operator" gives it'
        : `the database refused a statement (${sqlState ?? reason})`

export interface Attempted {
  readonly error: JobError
  /** Whether another attempt may help. */
  readonly again: boolean
}

/** The checkpoint of a schedule is not one of this database. Only a person can know what was exported already. */
const checkpointRefused = (rule: string, schedule: string | null): JobError => ({
  reason: "CheckpointRefused",
  detail: `the checkpoint of the schedule ${rule}; after "threadline consumers forget export:${schedule ?? "NAME"}" it starts from the beginning`
})

export const attempted = (failure: Failure, { schedule }: Pick<Job, "schedule">): Attempted => {
  switch (failure._tag) {
    case "ExportError":
      return { error: { reason: failure.reason, detail: failure.detail }, again: !final.has(failure.reason) }
    case "ThreadlineError":
      return { error: { reason: failure.reason, detail: sentenceOf(failure) }, again: !final.has(failure.reason) }
    case "threadline/InvalidRequest":
      return {
        error:
          failure.field === "checkpoint"
            ? checkpointRefused(failure.rule, schedule)
            : { reason: "InvalidRequest", detail: failure.message },
        again: false
      }
    case "threadline/NotFound":
      return { error: { reason: "NotFound", detail: failure.message }, again: false }
  }
}

export const abandoned: Attempted = {
  error: { reason: "Abandoned", detail: "its last worker ended without a word, and no attempt is left" },
  again: false
}

/** What was thrown may hold a captured value, so it is only logged. */
export const thrown: Attempted = {
  error: {
    reason: "Failed",
    detail: "the store, the scope or a callback of the host threw; the log of the worker says what"
  },
  again: true
}

export const checkpointMoved: Attempted = {
  error: { reason: "CheckpointMoved", detail: "another job of the schedule has ended meanwhile" },
  again: true
}

type Document = { readonly [field: string]: JsonValue }

const scopeOf = (job: Pick<Job, "scope">): string | null => job.scope?.name ?? null

const dataOf = (job: Pick<Job, "request" | "scope" | "schedule">): JsonObject => ({
  format: job.request.format,
  columns: job.request.columns,
  filter: job.request.filter,
  scope: scopeOf(job),
  schedule: job.schedule
})

const subjectOf = (id: string): JsonObject => ({ type: "export", id })

export const completedAction = (manifest: Manifest): Document => actionOf({ _tag: "Completed", manifest })

export const failedAction = (job: Job, error: JobError): Document => ({
  name: "export.failed",
  status: "error",
  verb: "export",
  reason: error.reason,
  data: dataOf(job)
})

export const queuedAction = (job: Pick<Job, "request" | "scope" | "schedule">): Document => ({
  name: "export.queued",
  status: "ok",
  verb: "export",
  data: dataOf(job)
})

/** What was done to a job. The actor of the action is the one who did it. */
export const jobAction = (name: "cancelled" | "retried" | "downloaded" | "expired", job: Job): Document => ({
  name: `export.${name}`,
  status: "ok",
  verb: name === "downloaded" ? "download" : "export",
  subject: subjectOf(job.id),
  data: {
    ...dataOf(job),
    ...(job.manifest === null
      ? {}
      : { count: job.manifest.count, bytes: job.manifest.bytes, sha256: job.manifest.sha256 })
  }
})
