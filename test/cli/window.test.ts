import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as TestClock from "effect/TestClock"
import { type Window, windowOf } from "../../cli/window.js"

type Given = { readonly [Name in keyof Window]?: string }

const bounds = ({ from, on, since, to, tz }: Given) =>
  windowOf({
    from: Option.fromNullable(from),
    to: Option.fromNullable(to),
    on: Option.fromNullable(on),
    since: Option.fromNullable(since),
    tz: Option.fromNullable(tz)
  })

it.effect("a date begins with its first instant and ends with its last, in its zone", () =>
  Effect.gen(function* () {
    const cases: ReadonlyArray<readonly [given: Given, from: string | undefined, to: string | undefined]> = [
      [{}, undefined, undefined],
      [{ from: "2026-11-27" }, "2026-11-27T00:00:00.000Z", undefined],
      [{ to: "2026-11-27" }, undefined, "2026-11-27T23:59:59.999999Z"],
      [{ on: "2026-11-27" }, "2026-11-27T00:00:00.000Z", "2026-11-27T23:59:59.999999Z"],
      [{ on: "2026-11-27", tz: "+02:00" }, "2026-11-26T22:00:00.000Z", "2026-11-27T21:59:59.999999Z"],
      // A day of 23 hours, and one of 25.
      [{ on: "2026-03-29", tz: "Europe/Berlin" }, "2026-03-28T23:00:00.000Z", "2026-03-29T21:59:59.999999Z"],
      [{ on: "2026-10-25", tz: "Europe/Berlin" }, "2026-10-24T22:00:00.000Z", "2026-10-25T22:59:59.999999Z"],
      // Its midnight does not exist: the clocks go from there to one o'clock.
      [{ on: "2018-11-04", tz: "America/Sao_Paulo" }, "2018-11-04T03:00:00.000Z", "2018-11-05T01:59:59.999999Z"],
      [{ on: "2024-02-29" }, "2024-02-29T00:00:00.000Z", "2024-02-29T23:59:59.999999Z"],
      // An instant is what it is.
      [
        { from: "2026-11-27T10:00:00Z", to: "2026-11-27T10:00:00.123456+01:00", tz: "Europe/Berlin" },
        "2026-11-27T10:00:00Z",
        "2026-11-27T10:00:00.123456+01:00"
      ],
      // What is no date is left to the read, which refuses it.
      [{ from: "2026-02-30", to: "yesterday" }, "2026-02-30", "yesterday"]
    ]
    for (const [given, from, to] of cases) {
      expect(yield* bounds(given), JSON.stringify(given)).toEqual({ from, to })
    }
  })
)

it.effect("--since counts back from now, and may end before it", () =>
  Effect.gen(function* () {
    yield* TestClock.setTime(Date.parse("2026-11-27T12:00:00Z"))
    for (const [since, from] of [
      ["90s", "2026-11-27T11:58:30.000Z"],
      ["30m", "2026-11-27T11:30:00.000Z"],
      ["12h", "2026-11-27T00:00:00.000Z"],
      ["7d", "2026-11-20T12:00:00.000Z"],
      ["2w", "2026-11-13T12:00:00.000Z"]
    ] as const) {
      expect(yield* bounds({ since })).toEqual({ from, to: undefined })
    }
    expect(yield* bounds({ since: "7d", to: "2026-11-21" })).toEqual({
      from: "2026-11-20T12:00:00.000Z",
      to: "2026-11-21T23:59:59.999999Z"
    })
  })
)

it.effect("windows that say two things, and times and zones that there are not, are refused in a sentence", () =>
  Effect.gen(function* () {
    const cases: ReadonlyArray<readonly [given: Given, sentence: string]> = [
      [{ on: "2026-11-27", from: "2026-11-26" }, "--on names a whole date: give it without --from"],
      [{ on: "2026-11-27", to: "2026-11-28" }, "--on names a whole date: give it without --to"],
      [{ on: "2026-11-27", since: "7d" }, "--on names a whole date: give it without --since"],
      [{ on: "2026-02-30" }, "--on is a date, such as 2026-11-22"],
      [{ on: "2026-11-27T10:00:00Z" }, "--on is a date, such as 2026-11-22"],
      [{ since: "7d", from: "2026-11-26" }, "--since says where the window begins: give it without --from"],
      [{ since: "7" }, "--since is a time such as 90s, 30m, 12h, 7d or 2w"],
      [{ since: "0d" }, "--since is a time such as 90s, 30m, 12h, 7d or 2w"],
      [{ since: "7 days" }, "--since is a time such as 90s, 30m, 12h, 7d or 2w"],
      [{ on: "2026-11-27", tz: "Berlin" }, "--tz is a time zone, such as Europe/Berlin or +02:00"],
      [{ tz: "" }, "--tz is a time zone, such as Europe/Berlin or +02:00"]
    ]
    for (const [given, sentence] of cases) {
      expect(yield* Effect.flip(bounds(given)), JSON.stringify(given)).toMatchObject({ message: sentence })
    }
  })
)
