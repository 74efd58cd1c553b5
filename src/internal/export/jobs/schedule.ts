/**
 * Schedules: when jobs are made, and of which window.
 */
import * as Cron from "effect/Cron"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import * as Actor from "../../../Actor.js"
import { InvalidRequest, NotFound, type ThreadlineError } from "../../../ThreadlineError.js"
import { formatMicros, InstantText, parseMicros } from "../../core/instant.js"
import { stringify } from "../../core/json.js"
import { JsonFromText } from "../../core/jsonSchema.js"
import { choice, mustBeObject, request } from "../../core/request.js"
import { instantColumn } from "../../record/change.js"
import { rows, type Storage, unreadable } from "../../record/storage.js"
import { mustBeWhole } from "../../record/whole.js"
import { withoutConnection } from "../../sql/owned.js"
import { ExportError } from "../exportError.js"
import { NamedScope, StoredRequest } from "./model.js"
import { queuedAction } from "./outcome.js"
import { decodeAsked, type QueueOptions, requiredScope } from "./queue.js"
import type { Decided } from "./options.js"
import * as table from "./table.js"
import { grantedScopes } from "./worker.js"

/**
 * What a job of a schedule covers, by the time zone of the schedule.
 *
 * - `previous-day`, `previous-week` (from Monday), `previous-month`: the last one that ended before the tick, by the instants of changes
 * - `since-last`: what was committed since the last completed job of the schedule. The first job covers everything.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Window = choice("previous-day", "previous-week", "previous-month", "since-last")

/**
 * @since 0.1.0
 * @category models
 */
export type Window = typeof Window.Type

export const Missed = choice("once", "each", "skip")

export type Missed = typeof Missed.Type

export interface ScheduleOptions extends QueueOptions {
  /** 1 to 63 letters, digits, `_`, `.` and `-`. */
  readonly name: string
  /** Five fields (minute, hour, day, month, weekday), or six with seconds first: `0 6 * * 1`. */
  readonly cron: string
  /** The default is `UTC`. */
  readonly timeZone?: string | undefined
  readonly window: Window
  /**
   * What happens with ticks that passed while no worker ran. `once` makes one job, for the last of them; this is the default. `each` makes
   * one job for each of them. `skip` makes none.
   */
  readonly missed?: Missed | undefined
}

/**
 * A schedule. Its JSON has the same fields.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ScheduleModel = Schema.Struct({
  name: Schema.String,
  cron: Schema.String,
  timeZone: Schema.String,
  window: Window,
  missed: Missed,
  request: StoredRequest,
  scope: Schema.NullOr(Schema.typeSchema(NamedScope)),
  requestedBy: Schema.NullOr(Actor.Actor),
  /** When the next job is made. */
  nextTick: InstantText,
  /** The last tick for which a job was made. */
  lastTick: Schema.NullOr(InstantText)
}).annotations({ identifier: "threadline.ExportSchedule" })

/**
 * @since 0.1.0
 * @category models
 */
export interface ScheduleModel extends Schema.Schema.Type<typeof ScheduleModel> {}

const nameRule = "must be 1 to 63 letters, digits, _, . and -, and begin with a letter or a digit"

const isName = (name: string): boolean => /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/.test(name)

const Fields = Schema.Struct({
  name: Schema.String.annotations({ message: () => nameRule }).pipe(Schema.filter(isName, { message: () => nameRule })),
  cron: Schema.String.annotations({ message: () => "must be a string such as 0 6 * * 1" }),
  timeZone: Schema.optionalWith(Schema.String.annotations({ message: () => "must be a time zone" }), {
    default: () => "UTC"
  }),
  window: Window,
  missed: Schema.optionalWith(Missed, { default: (): Missed => "once" })
})

const decodeFields = request(Fields)

const zoneOf = (text: string): Either.Either<DateTime.TimeZone, InvalidRequest> =>
  Either.fromOption(
    DateTime.zoneFromString(text),
    () => new InvalidRequest({ field: "timeZone", rule: "must be a time zone, such as Europe/Berlin or +02:00" })
  )

const cronOf = (text: string, zone: DateTime.TimeZone): Either.Either<Cron.Cron, InvalidRequest> =>
  Either.flatMap(
    Either.mapLeft(
      Cron.parse(text, zone),
      () =>
        new InvalidRequest({
          field: "cron",
          rule: "must be minute, hour, day, month and weekday, such as 0 6 * * 1 for Mondays at 6"
        })
    ),
    (cron) =>
      Either.mapBoth(
        Either.try(() => Cron.next(cron, new Date(0))),
        {
          onLeft: () => new InvalidRequest({ field: "cron", rule: "never matches: there is no such date" }),
          onRight: () => cron
        }
      )
  )

const micros = (date: Date): string => formatMicros(BigInt(date.getTime()) * 1000n)

const dateOf = (instant: string): Date => new Date(Number((parseMicros(instant) ?? 0n) / 1000n))

const units = {
  "previous-day": ["day", { days: 1 }],
  "previous-week": ["week", { weeks: 1 }],
  "previous-month": ["month", { months: 1 }]
} as const

/** The first instant and the last microsecond that a window covers at a tick. Undefined if the window is not one of time. */
export const boundsOf = (
  window: Window,
  zone: DateTime.TimeZone,
  tick: Date
): { readonly from: string; readonly to: string } | undefined => {
  if (window === "since-last") {
    return undefined
  }
  const [unit, one] = units[window]
  const at = DateTime.unsafeMakeZoned(tick, { timeZone: zone })
  const end = DateTime.startOf(at, unit, { weekStartsOn: 1 })
  const begin = DateTime.startOf(DateTime.subtract(end, one), unit, { weekStartsOn: 1 })
  return {
    from: micros(DateTime.toDateUtc(begin)),
    to: formatMicros(BigInt(DateTime.toEpochMillis(end)) * 1000n - 1n)
  }
}

const ScheduleRow = Schema.Struct({ schedule: JsonFromText })

const decodeSchedule = Schema.decodeUnknown(ScheduleModel)

const schedules = (storage: Storage, which: "all" | "due") => {
  const { name, sql } = storage
  return withoutConnection(
    Effect.flatMap(
      Effect.zipRight(
        mustBeWhole(storage),
        rows(
          ScheduleRow,
          sql`
        select
          pg_catalog.jsonb_build_object(
            'name', s.name,
            'cron', s.cron,
            'timeZone', s.time_zone,
            'window', s.time_window,
            'missed', s.missed,
            'request', s.request,
            'scope', s.scope,
            'requestedBy', s.requested_by,
            'nextTick', ${instantColumn(sql, "s.next_tick")},
            'lastTick', ${instantColumn(sql, "s.last_tick")}
          )::text as schedule
        from ${name("export_schedules")} s
        ${which === "due" ? sql`where s.next_tick <= clock_timestamp()` : sql``}
        order by s.name`
        )
      ),
      (found) =>
        Effect.mapError(
          Effect.forEach(found, ({ schedule }) => decodeSchedule(schedule)),
          unreadable
        )
    )
  )
}

export const list = (storage: Storage): Effect.Effect<ReadonlyArray<ScheduleModel>, ThreadlineError> =>
  schedules(storage, "all")

const NowRow = Schema.Struct({ now: Schema.String })

/** The clock of the database: ticks are compared with it. */
const now = ({ sql }: Storage): Effect.Effect<Date, ThreadlineError> =>
  Effect.map(withoutConnection(rows(NowRow, sql`select ${instantColumn(sql, "clock_timestamp()")} as now`)), ([row]) =>
    dateOf(row?.now ?? "")
  )

const decoded = Effect.fnUntraced(function* (
  options: ScheduleOptions
): Effect.fn.Return<
  { readonly fields: typeof Fields.Type; readonly cron: Cron.Cron; readonly asked: table.Asked },
  ExportError | InvalidRequest
> {
  yield* mustBeObject(options)
  const { cron, missed, name, timeZone, window, ...rest } = options
  const fields = yield* decodeFields({ cron, missed, name, timeZone, window })
  const parsed = yield* cronOf(fields.cron, yield* zoneOf(fields.timeZone))
  const asked = yield* decodeAsked(rest)
  if (asked.request.limit !== null) {
    return yield* new InvalidRequest({
      field: "limit",
      rule: "must not be given for a schedule: the rest would be left out for good"
    })
  }
  for (const field of ["from", "to"] as const) {
    if (asked.request.filter[field] !== undefined) {
      return yield* new InvalidRequest({ field, rule: "must not be given: the window of the schedule sets it" })
    }
  }
  return { fields, cron: parsed, asked }
})

/** Fails as adding a schedule with these options would. Needs no database. */
export const validate = (options: ScheduleOptions): Effect.Effect<void, ExportError | InvalidRequest> =>
  Effect.asVoid(decoded(options))

export const add = Effect.fnUntraced(function* (
  storage: Storage,
  decided: Decided,
  options: ScheduleOptions
): Effect.fn.Return<ScheduleModel, ExportError | InvalidRequest | ThreadlineError> {
  const { asked, cron, fields } = yield* decoded(options)
  const { requestedBy, scope } = asked
  if (scope === undefined && decided.scopeRequired) {
    return yield* requiredScope()
  }
  yield* grantedScopes(decided, {
    scope: scope === undefined ? null : { name: scope.name, parameters: scope.parameters ?? {} },
    requestedBy: requestedBy ?? null
  })
  const first = Cron.next(cron, yield* now(storage))
  const added = yield* table.addSchedule(storage, { ...fields, asked, first: micros(first) })
  const storedSchedule = (yield* list(storage)).find((schedule) => schedule.name === fields.name)
  return added && storedSchedule !== undefined
    ? storedSchedule
    : yield* new ExportError({ reason: "ScheduleExists", detail: `there is a schedule ${fields.name} already` })
})

export const remove = Effect.fnUntraced(function* (
  storage: Storage,
  name: string,
  scope: NamedScope | undefined
): Effect.fn.Return<void, InvalidRequest | NotFound | ThreadlineError> {
  if (typeof name !== "string" || !isName(name)) {
    return yield* new InvalidRequest({ field: "name", rule: nameRule })
  }
  if (!(yield* table.removeSchedule(storage, name, scope))) {
    return yield* new NotFound({ subject: "schedule", id: name })
  }
})

/** How many ticks are looked at one by one. If there are more, only those of the last hour are. */
const mostTicks = 1000

/** The ticks that were due, up to the latest that has passed, and the next one. */
const ticksOf = (
  cron: Cron.Cron,
  due: Date,
  until: Date
): { readonly due: ReadonlyArray<Date>; readonly next: Date } => {
  const passed = [due]
  let next = Cron.next(cron, due)
  while (next.getTime() <= until.getTime()) {
    passed.push(next)
    const lastHour = until.getTime() - 3_600_000
    next = Cron.next(cron, passed.length % mostTicks === 0 && next.getTime() < lastHour ? new Date(lastHour) : next)
  }
  return { due: passed, next }
}

/** In milliseconds. A tick that no job was made for within this time was missed. */
const grace = 600_000

/** Makes the jobs of a schedule that is due. */
const tick = Effect.fnUntraced(function* (
  storage: Storage,
  decided: Decided,
  schedule: ScheduleModel,
  at: Date
): Effect.fn.Return<void, InvalidRequest | ThreadlineError> {
  const zone = yield* zoneOf(schedule.timeZone)
  const cron = yield* cronOf(schedule.cron, zone)
  const { due, next } = ticksOf(cron, dateOf(schedule.nextTick), at)
  for (const [index, moment] of due.entries()) {
    const isLast = index === due.length - 1
    const isMissed = at.getTime() - moment.getTime() > grace
    // The time since the last run is one window, however many ticks it spans.
    const isMade =
      schedule.missed === "skip"
        ? !isMissed
        : schedule.missed === "once" || schedule.window === "since-last"
          ? isLast
          : true
    const bounds = boundsOf(schedule.window, zone, moment)
    const request = { ...schedule.request, filter: { ...schedule.request.filter, ...bounds } }
    const action = queuedAction({ request, scope: schedule.scope, schedule: schedule.name })
    yield* table.tick(storage, {
      name: schedule.name,
      due: micros(moment),
      next: micros(due[index + 1] ?? next),
      request: isMade ? stringify(request) : null,
      attempts: decided.attempts,
      action: decided.record ? action : null
    })
  }
})

/** Makes the jobs of all schedules that are due. One that cannot be read does not stop the others. */
export const makeDue = (storage: Storage, decided: Decided): Effect.Effect<void, ThreadlineError> =>
  Effect.flatMap(schedules(storage, "due"), (due) =>
    due.length === 0
      ? Effect.void
      : Effect.flatMap(now(storage), (at) =>
          Effect.forEach(
            due,
            (schedule) =>
              Effect.catchTag(tick(storage, decided, schedule, at), "threadline/InvalidRequest", (error) =>
                Effect.logError(`threadline: the schedule ${schedule.name} makes no job`, error)
              ),
            { discard: true }
          )
        )
  )
