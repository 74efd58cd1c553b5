/**
 * Evidence of how the record is governed: who looked after it, when, and with which result.
 *
 * There are six subjects. What a host records is marked `host`; what Threadline finds out itself is marked `derived`, and only that gives a
 * verdict. Records are only added. Nothing is recorded unless the host asks.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Health from "./Health.js"
import * as Capture from "./Capture.js"
import { nameOf, redactionsOf, redactionsOfPolicy } from "./internal/capture/redaction.js"
import { instant, type InstantInput, instantRule } from "./internal/core/instant.js"
import { idRule, isId, mustHaveOnly } from "./internal/core/request.js"
import * as html from "./internal/evidence/html.js"
import type { Details, EvidenceRecord, Standing, Status, Subject } from "./internal/evidence/model.js"
import { notes, type Proof } from "./internal/evidence/proof.js"
import type { EvidenceFilter } from "./internal/evidence/read.js"
import type { Given } from "./internal/evidence/record.js"
import { operation } from "./internal/core/telemetry.js"
import { mayHideActions } from "./internal/query/service.js"
import * as service from "./internal/evidence/service.js"
import * as storage from "./internal/record/storage.js"
import { check, cutoffsOf, latestOf } from "./internal/retention/policy.js"
import type * as Page from "./Page.js"
import * as Query from "./Query.js"
import * as Retention from "./Retention.js"
import { InvalidRequest, NotFound, type ThreadlineError } from "./ThreadlineError.js"

/**
 * @since 0.1.0
 */
export { type Details, EvidenceRecord, Origin, Standing, Status, Subject, subjects } from "./internal/evidence/model.js"

/**
 * @since 0.1.0
 */
export { Proof } from "./internal/evidence/proof.js"

/**
 * @since 0.1.0
 */
export { type EvidenceFilter } from "./internal/evidence/read.js"

/**
 * @since 0.1.0
 */
export { type Given } from "./internal/evidence/record.js"

/**
 * @since 0.1.0
 * @category services
 */
export interface Service extends service.Service {}

/**
 * Evidence. Reading needs a reader, recording an operator.
 *
 * @since 0.1.0
 * @category services
 */
export class Evidence extends Context.Tag("threadline/Evidence")<Evidence, Service>() {}

/**
 * Evidence in the client's database. Building it asks the database nothing.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Evidence, never, SqlClient.SqlClient> = Layer.effect(
  Evidence,
  Effect.map(storage.make, service.make)
)

type Recorded = Effect.Effect<EvidenceRecord, InvalidRequest | ThreadlineError, Evidence>

/**
 * Records what a host says of a subject; see `Service`.
 *
 * @since 0.1.0
 * @category recording
 * @example
 * ```ts
 * import { Evidence } from "threadline"
 *
 * export const delivered = Evidence.record("export_delivery", {
 *   reference: "2026-q3",
 *   status: "ok",
 *   detail: { format: "csv", count: 1200, bytes: 340112, sha256: "9f86d081", recipient: "auditor@example.com" }
 * })
 * ```
 */
export const record = <S extends Subject>(subject: S, evidence: Given<S>): Recorded =>
  Effect.flatMap(Evidence, (one) => one.record(subject, evidence))

/**
 * The same for what was not type-checked, such as JSON from elsewhere.
 *
 * @since 0.1.0
 * @category recording
 */
export const recordUnknown = (subject: unknown, evidence: unknown): Recorded =>
  Effect.flatMap(Evidence, (one) => one.recordUnknown(subject, evidence))

/**
 * Records what a host says of how columns are kept out of the record.
 *
 * @since 0.1.0
 * @category recording
 */
export const redactionPolicy = (evidence: Given<"redaction_policy">): Recorded => record("redaction_policy", evidence)

/**
 * Records what a host says of which tables are captured.
 *
 * @since 0.1.0
 * @category recording
 */
export const triggerCoverage = (evidence: Given<"trigger_coverage">): Recorded => record("trigger_coverage", evidence)

/**
 * Records what a host says of a run of retention.
 *
 * @since 0.1.0
 * @category recording
 */
export const retentionRun = (evidence: Given<"retention_run">): Recorded => record("retention_run", evidence)

/**
 * Records what a host says of how long the record is kept.
 *
 * @since 0.1.0
 * @category recording
 */
export const retentionPolicy = (evidence: Given<"retention_policy">): Recorded => record("retention_policy", evidence)

/**
 * Records what a host says of an export that somebody got.
 *
 * @since 0.1.0
 * @category recording
 */
export const exportDelivery = (evidence: Given<"export_delivery">): Recorded => record("export_delivery", evidence)

/**
 * Records what a host says of who may look at what.
 *
 * @since 0.1.0
 * @category recording
 */
export const supportScopePosture = (evidence: Given<"support_scope_posture">): Recorded =>
  record("support_scope_posture", evidence)

/**
 * What a recorder that looks itself is told.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeriveOptions {
  /** What it is about, 1 to 256 bytes: an environment, the id of a run. `latest` and `history` find it by this. */
  readonly reference: string
  /** Who records it; the actor of `AuditContext` unless given. */
  readonly actor?: Given<Subject>["actor"]
  /** Of `trigger_coverage`, what it is compared with. */
  readonly health?: Health.Options | undefined
  /** Of `retention_policy`, as it is configured; none if there is none. */
  readonly policy?: Retention.Policy | undefined
  /** Of `retention_run`, the id; the newest run unless given. */
  readonly run?: string | undefined
  /** Of `export_delivery`, the action that the export was recorded as; the newest one unless given. */
  readonly action?: string | undefined
}

const deriveFields = {
  reference: true,
  actor: true,
  health: true,
  policy: true,
  run: true,
  action: true
} as const satisfies {
  readonly [Field in keyof DeriveOptions]-?: true
}

/**
 * The services that `derive` and `proof` look with.
 *
 * @since 0.1.0
 * @category models
 */
export type Sources = Capture.Capture | Evidence | Health.Health | Query.Query | Retention.Retention

/**
 * @since 0.1.0
 * @category errors
 */
export type Failure = Capture.CaptureError | InvalidRequest | NotFound | ThreadlineError

const recorder = Effect.flatMap(Evidence, (evidence) => {
  const ownRecorder = service.recorderOf(evidence)
  return ownRecorder === undefined
    ? Effect.fail(new InvalidRequest({ field: "evidence", rule: "must be the service of a layer of this module" }))
    : Effect.succeed(ownRecorder)
})

interface Derived<S extends Subject> {
  readonly status: Status
  readonly detail: Details[S]
}

/**
 * The coverage that is asked for, and besides that of tables whose capture was ended: nobody has to name them any more, and what
 * was not captured since is a lapse.
 */
const coverageOf = (options: Health.Options = {}) =>
  Effect.gen(function* () {
    const named = yield* Health.coverage(options)
    const former = yield* Effect.flatMap(recorder, (own) => own.former)
    const ended = former.filter((table) => named.every((each) => each.table !== table))
    const expected = options.expected ?? (options.tables ?? []).map(({ table }) => table)
    const all = ended.length === 0 ? named : yield* Health.coverage({ ...options, expected: [...expected, ...ended] })
    return all.map(({ keptSince, lapses, reason, refused, since, status, table }) => ({
      table,
      status,
      since,
      keptSince,
      lapses: lapses.map((lapse) => ({ since: lapse.since, until: lapse.until })),
      reason,
      refused: ended.includes(table) ? null : refused
    }))
  })

/** Columns, and paths inside of columns. */
const partsOf = (policy: Capture.Policy) => {
  const parts = redactionsOf(redactionsOfPolicy(policy))
  return {
    excluded: parts.filter(({ as }) => as === "exclude").map(nameOf),
    masked: parts.filter(({ as }) => as !== "exclude").map(nameOf)
  }
}

const redactionOf = (tables: ReadonlyArray<Capture.TableStatus>) =>
  tables.flatMap(({ policy, table }) =>
    policy === null || policy.removedAt !== null ? [] : [{ table, ...partsOf(policy) }]
  )

const exportActions = ["export.completed", "export.ended"] as const

/** The newest export, or the one of an id, looked for from the newest on. */
const exportAction = (id: string | undefined) =>
  Effect.gen(function* () {
    let cursor: string | undefined
    for (;;) {
      const page = yield* Query.actions({ action: exportActions, limit: id === undefined ? 1 : 1000, cursor })
      const exportRecorded = id === undefined ? page.items[0] : page.items.find((action) => action.id === id)
      if (exportRecorded !== undefined || page.nextCursor._tag === "None") {
        return exportRecorded
      }
      cursor = page.nextCursor.value
    }
  })

const textIn = (data: unknown, field: string): string => (Predicate.hasProperty(data, field) ? String(data[field]) : "")

const derivations: {
  readonly [S in Subject]: (options: DeriveOptions) => Effect.Effect<Derived<S>, Failure, Sources>
} = {
  trigger_coverage: ({ health }) =>
    Effect.map(coverageOf(health), (tables) => ({
      status: tables.some(({ refused }) => refused !== null)
        ? "failed"
        : // Nothing captured is nothing proven.
          tables.length === 0 || tables.some(({ lapses }) => lapses.length > 0)
          ? "attention"
          : "ok",
      detail: { tables: tables.map(({ refused: _, ...table }) => table) }
    })),
  redaction_policy: () =>
    Effect.map(Capture.status(), (statuses) => ({
      status: statuses.some(({ findings }) => findings.some(({ severity }) => severity === "error"))
        ? "attention"
        : "ok",
      detail: { tables: redactionOf(statuses) }
    })),
  retention_policy: ({ policy }) =>
    policy === undefined
      ? Effect.succeed({ status: "attention", detail: { configured: false, policy: null } })
      : Effect.map(check(policy), ({ document }) => ({ status: "ok", detail: { configured: true, policy: document } })),
  retention_run: ({ run }) =>
    Effect.gen(function* () {
      const [found] = (yield* Retention.runs({ id: run, limit: 1 })).items
      if (found === undefined) {
        return yield* new NotFound({ subject: "run", id: run ?? "newest" })
      }
      const { actions, changes, cutoff, finishedAt, id, kind, problem, startedAt, state, transactions } = found
      return {
        status: state === "failed" ? "failed" : state === "completed" ? "ok" : "attention",
        detail: { run: id, kind, state, startedAt, finishedAt, cutoff, changes, transactions, actions, problem }
      }
    }),
  export_delivery: ({ action }) =>
    Effect.gen(function* () {
      const recordedExport = yield* exportAction(action)
      if (recordedExport === undefined) {
        return yield* new NotFound(
          action === undefined
            ? { subject: "export", id: "newest", detail: "no export was recorded" }
            : { subject: "action", id: action, detail: "no export was recorded as such an action" }
        )
      }
      const { data } = recordedExport
      return {
        status: recordedExport.status === "ok" ? "ok" : "failed",
        detail: {
          format: textIn(data, "format") || "unknown",
          count: Number(textIn(data, "count") || 0),
          bytes: Number(textIn(data, "bytes") || 0),
          sha256: textIn(data, "sha256") || "none: it ended early",
          action: recordedExport.id
        }
      }
    }),
  support_scope_posture: () =>
    Effect.flatMap(recorder, ({ posture }) =>
      Effect.map(posture, (found) => ({
        status: found === undefined || found.changers.length > 0 ? "attention" : "ok",
        detail: {
          readers: found?.readers ?? [],
          writers: found?.writers ?? [],
          changers: found?.changers ?? [],
          rowSecurity: found?.rowSecurity ?? false
        }
      }))
    )
}

/**
 * Looks at a subject itself and records what it found, marked `derived`:
 *
 * - `trigger_coverage`: from `Health.coverage`; `failed` if a table does not pass the gate, `attention` if one has lapses, or if nothing
 *   was ever captured
 * - `redaction_policy`: what is deployed; `attention` if capture has a finding that is an error
 * - `retention_policy`: the policy given; `attention` if there is none
 * - `retention_run`: a run as it is recorded
 * - `export_delivery`: an export as it is recorded
 * - `support_scope_posture`: which roles of the database can read, add to and change the record; `attention` if one can change it
 *
 * @since 0.1.0
 * @category recording
 */
export const derive = <S extends Subject>(
  subject: S,
  options: DeriveOptions
): Effect.Effect<EvidenceRecord, Failure, Sources> =>
  Effect.gen(function* () {
    // A misspelt option would be ignored, and the evidence would be about something else.
    yield* mustHaveOnly(options, deriveFields)
    yield* service.checkNames(subject, options.reference)
    for (const [field, ofSubject] of [
      ["run", "retention_run"],
      ["action", "export_delivery"]
    ] as const) {
      const id: unknown = options[field]
      if (id !== undefined && subject !== ofSubject) {
        return yield* new InvalidRequest({ field, rule: `is only for ${ofSubject}` })
      }
      if (id !== undefined && !(typeof id === "string" && isId(id))) {
        return yield* new InvalidRequest({ field, rule: idRule })
      }
    }
    const { recordAs } = yield* recorder
    const { detail, status } = yield* derivations[subject](options)
    return yield* recordAs(subject, { reference: options.reference, actor: options.actor, status, detail }, "derived")
  }).pipe(operation("evidence", "derive"))

/**
 * A page of records, newest first.
 *
 * @since 0.1.0
 * @category accessors
 */
export const list = (
  filter?: EvidenceFilter
): Effect.Effect<Page.Page<EvidenceRecord>, InvalidRequest | ThreadlineError, Evidence> =>
  Effect.flatMap(Evidence, (evidence) => evidence.list(filter))

/**
 * The newest record of a subject and reference.
 *
 * @since 0.1.0
 * @category accessors
 */
export const latest = (
  subject: Subject,
  reference: string
): Effect.Effect<Option.Option<EvidenceRecord>, InvalidRequest | ThreadlineError, Evidence> =>
  Effect.flatMap(Evidence, (evidence) => evidence.latest(subject, reference))

/**
 * Every record of a subject and reference, a page of them, newest first.
 *
 * @since 0.1.0
 * @category accessors
 */
export const history = (
  subject: Subject,
  reference: string,
  paging: Pick<EvidenceFilter, "limit" | "cursor" | "order"> = {}
): Effect.Effect<Page.Page<EvidenceRecord>, InvalidRequest | ThreadlineError, Evidence> =>
  Effect.zipRight(
    service.checkNames(subject, reference),
    Effect.flatMap(Evidence, (evidence) => evidence.list({ ...paging, subject, reference }))
  )

/**
 * How the six subjects stand.
 *
 * @since 0.1.0
 * @category accessors
 */
export const overview: Effect.Effect<ReadonlyArray<Standing>, ThreadlineError, Evidence> = Effect.flatMap(
  Evidence,
  (evidence) => evidence.overview
)

/**
 * The period of a proof, and what it looks at besides.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProofOptions {
  /** The first instant of the period. */
  readonly from: InstantInput
  /** The last instant of the period, which belongs to it; not before `from`. */
  readonly to: InstantInput
  /** What coverage is compared with. */
  readonly health?: Health.Options | undefined
  /** Names of actions by which a host records that somebody looked at the record, besides exports. */
  readonly lookedActions?: ReadonlyArray<string> | undefined
}

const proofFields = { from: true, to: true, health: true, lookedActions: true } as const satisfies {
  readonly [Field in keyof ProofOptions]-?: true
}

const isNames = Schema.is(Schema.Array(Schema.NonEmptyString))

const mostLines = 5000

/** Pages of a list until there are no more, or too many for one document. */
const gathered = <A, E, R>(
  read: (cursor: string | undefined) => Effect.Effect<Page.Page<A>, E, R>
): Effect.Effect<{ readonly items: ReadonlyArray<A>; readonly isWhole: boolean }, E, R> =>
  Effect.gen(function* () {
    const items: Array<A> = []
    let cursor: string | undefined
    for (;;) {
      const page = yield* read(cursor)
      items.push(...page.items)
      if (page.nextCursor._tag === "None") {
        return { items: items.slice(0, mostLines), isWhole: items.length <= mostLines }
      }
      if (items.length >= mostLines) {
        return { items: items.slice(0, mostLines), isWhole: false }
      }
      cursor = page.nextCursor.value
    }
  })

/** Before which instant a purge may have removed some of these actions. Null if it removed none. */
const actionsGoneBefore = (run: Retention.Run, names: ReadonlyArray<string>): string | null =>
  run.actions === 0
    ? null
    : Either.match(check(run.policy), {
        // It cannot be known, and a run removes nothing that is younger than itself.
        onLeft: () => run.startedAt,
        onRight: (policy) => {
          const { actions, otherActions } = cutoffsOf(policy, run.startedAt, undefined)
          return latestOf(
            names.map((name) => {
              const named = actions.find((action) => action.name === name)
              return named === undefined ? otherActions : named.cutoff
            })
          )
        }
      })

/** The newest purge that may have removed some of these actions of the time after an instant. */
const removedActions = (from: string, names: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    let cursor: string | undefined
    for (;;) {
      const page = yield* Retention.runs({ kind: "purge", from, limit: 500, cursor })
      for (const run of page.items) {
        const before = actionsGoneBefore(run, names)
        if (before !== null && before > from) {
          return { id: run.id, before }
        }
      }
      if (page.nextCursor._tag === "None") {
        return undefined
      }
      cursor = page.nextCursor.value
    }
  })

const provenRun = (run: Retention.Run): Proof["retentionRuns"][number] => ({
  id: run.id,
  kind: run.kind,
  state: run.state,
  startedAt: run.startedAt,
  finishedAt: run.finishedAt,
  cutoff: run.cutoff,
  changes: run.changes,
  transactions: run.transactions,
  actions: run.actions,
  policy: run.policy,
  problem: run.problem,
  actor: run.actor,
  dbUser: run.dbUser
})

const provenAction = (action: Query.Action): Proof["looked"][number] => ({
  id: action.id,
  occurredAt: action.occurredAt,
  name: action.name,
  status: action.status,
  actor: action.actor,
  data: action.data
})

const bound = (field: string, given: InstantInput): Effect.Effect<string, InvalidRequest> => {
  const decodedInstant = instant(given)
  return decodedInstant === undefined
    ? Effect.fail(new InvalidRequest({ field, rule: instantRule }))
    : Effect.succeed(decodedInstant)
}

/**
 * Gathers what an auditor needs for a period: coverage with its lapses, redaction, runs of retention, exports and who looked, the evidence
 * recorded, each with its id in the record. At most 5000 lines of each; `incomplete` names what is longer, and what
 * retention has removed from. It records nothing.
 *
 * @since 0.1.0
 * @category proof
 * @example
 * ```ts
 * import { Evidence } from "threadline"
 * import * as Effect from "effect/Effect"
 *
 * export const page = Effect.map(Evidence.proof({ from: "2026-07-01", to: "2026-09-30T23:59:59.999999Z" }), Evidence.toHtml)
 * ```
 */
export const proof = (options: ProofOptions): Effect.Effect<Proof, Failure, Sources> =>
  Effect.gen(function* () {
    yield* mustHaveOnly(options, proofFields)
    const lookedActions: unknown = options.lookedActions === undefined ? [] : options.lookedActions
    if (!isNames(lookedActions)) {
      return yield* new InvalidRequest({ field: "lookedActions", rule: "must be a list of names of actions" })
    }
    const from = yield* bound("from", options.from)
    const to = yield* bound("to", options.to)
    if (to < from) {
      return yield* InvalidRequest.of("to", "must not be before ", { field: "from" })
    }
    const evidence = yield* Evidence
    const madeAt = yield* Effect.flatMap(recorder, (own) => own.now)
    const overlaps = (lapse: { readonly since: string | null; readonly until: string | null }) =>
      (lapse.since === null || lapse.since <= to) && (lapse.until === null || lapse.until >= from)
    const tables = yield* coverageOf(options.health)
    const runs = yield* gathered((cursor) => Retention.runs({ from, to, limit: 500, cursor }))
    const removal = yield* removedActions(from, [...exportActions, ...lookedActions])
    const looked = yield* gathered((cursor) =>
      Query.actions({ action: [...exportActions, ...lookedActions], from, to, limit: 500, cursor })
    )
    const isScoped = yield* Effect.flatMap(Query.Query, mayHideActions)
    const recorded = yield* gathered((cursor) => evidence.list({ from, to, limit: 500, cursor }))
    return {
      from,
      to,
      madeAt,
      notes,
      overview: yield* evidence.overview,
      coverage: tables.map(({ lapses, refused: _, ...table }) => ({ ...table, lapses: lapses.filter(overlaps) })),
      redaction: redactionOf(yield* Capture.status()),
      retentionRuns: runs.items.map(provenRun),
      looked: looked.items.map(provenAction),
      evidence: recorded.items,
      incomplete: [
        ...(runs.isWhole ? [] : ["retention runs"]),
        ...(looked.isWhole ? [] : ["exports and who looked"]),
        ...(isScoped ? ["exports and who looked: only those that the scope of the reader shows"] : []),
        ...(removal === undefined
          ? []
          : [
              `exports and who looked: retention run ${removal.id} removed actions, and may have removed these up to ${removal.before}`
            ]),
        ...(recorded.isWhole ? [] : ["evidence"])
      ]
    }
  }).pipe(operation("evidence", "proof"))

/**
 * A proof as one page for printing, without scripts.
 *
 * @since 0.1.0
 * @category proof
 */
export const toHtml = (document: Proof): string => html.toHtml(document)
