import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Export from "../../src/Export.js"
import * as ExportJobs from "../../src/ExportJobs.js"
import * as Json from "../../src/Json.js"
import { when } from "../describe.js"
import { UsageError } from "../exit.js"
import { format, inOptions, requestOf, requestOptions } from "../exporting.js"
import { inJobs, scopeOf, scopeOptions } from "../jobs.js"
import { choice, common, value } from "../options.js"
import { answerExact, visible } from "../output.js"
import { argument, leaf } from "../parser/declare.js"
import { layout } from "../table.js"

const { from: _, limit: __, on: ___, since: ____, to: _____, tz, ...filters } = requestOptions

const windows = ["previous-day", "previous-week", "previous-month", "since-last"] as const

export const add = leaf(
  "export schedule add",
  {
    ...common,
    name: argument("NAME", "Letters, digits, _, . and -."),
    cron: value("cron", "CRON", "Minute, hour, day, month and weekday, such as '0 6 * * 1' for Mondays at 6."),
    tz,
    window: choice("window", windows, "What each export covers."),
    missed: choice(
      "missed",
      ["once", "each", "skip"],
      "What to do with ticks that passed while no worker ran; default: one job for the last."
    ),
    format: format("What is written."),
    ...scopeOptions,
    ...filters
  },
  (options) =>
    Effect.gen(function* () {
      const none = Option.none<string>()
      const { limit: _, ...request } = yield* requestOf({
        ...options,
        from: none,
        to: none,
        on: none,
        since: none,
        tz: none,
        limit: none
      })
      const cron = Option.getOrUndefined(options.cron)
      const window = Option.getOrUndefined(options.window)
      if (cron === undefined || window === undefined) {
        return yield* new UsageError({
          message: cron === undefined ? "--cron is missing: when" : `--window is missing: one of ${windows.join(", ")}`
        })
      }
      yield* Effect.suspend(() => Export.validate(request)).pipe(inOptions(options))
      const schedule = {
        ...request,
        name: options.name,
        cron,
        window,
        timeZone: Option.getOrUndefined(options.tz),
        missed: Option.getOrUndefined(options.missed),
        scope: yield* scopeOf(options)
      }
      yield* Effect.suspend(() => ExportJobs.validateSchedule(schedule)).pipe(inOptions(options, names))
      const added = yield* inJobs(options, ExportJobs.addSchedule(schedule)).pipe(inOptions(options, names))
      yield* answerExact(
        options,
        () => Json.stringify(added),
        () => visible(`The schedule ${added.name} makes its first export at ${when(added.nextTick)} UTC.`)
      )
    })
)

const names = { name: "NAME", timeZone: "--tz" }

const table = (schedules: ReadonlyArray<ExportJobs.Schedule>, width: number): string =>
  layout(
    [
      { header: "schedule" },
      { header: "cron", rigid: true },
      { header: "zone", rigid: true },
      { header: "window", rigid: true },
      { header: "format", rigid: true },
      { header: "next (UTC)", rigid: true },
      { header: "filter" }
    ],
    schedules.map(({ cron, name, nextTick, request, timeZone, window }) => [
      name,
      cron,
      timeZone,
      window,
      request.format,
      when(nextTick),
      Json.stringify(request.filter)
    ]),
    width
  )

export const list = leaf("export schedule list", common, (options) =>
  Effect.gen(function* () {
    const schedules = yield* inJobs(options, ExportJobs.schedules).pipe(inOptions(options))
    yield* answerExact(
      options,
      () => Json.stringify({ schedules }),
      (width) => (schedules.length === 0 ? "There is no schedule." : table(schedules, width))
    )
  })
)

export const remove = leaf(
  "export schedule remove",
  { ...common, ...scopeOptions, name: argument("NAME", "Name of the schedule. Its jobs stay.") },
  (options) =>
    Effect.gen(function* () {
      const scope = yield* scopeOf(options)
      yield* inJobs(options, ExportJobs.removeSchedule(options.name, { scope })).pipe(inOptions(options, names))
      yield* answerExact(
        options,
        () => Json.stringify({ name: options.name, removed: true }),
        () => visible(`The schedule ${options.name} is removed.`)
      )
    })
)
