/** How far an export is, on a terminal. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Export from "../src/Export.js"
import { Surroundings } from "./surroundings.js"

const units = ["B", "kB", "MB", "GB", "TB"]

export const sizeText = (bytes: number): string => {
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3))
  const size = bytes / 1000 ** power
  return `${power === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${units[power] ?? ""}`
}

export const durationText = (seconds: number): string =>
  seconds < 90
    ? `${Math.ceil(seconds)} s`
    : seconds < 5400
      ? `${Math.ceil(seconds / 60)} min`
      : `${(seconds / 3600).toFixed(1)} h`

/** The progress of an export. The planner estimates how many records there are. The estimate is left out after it is passed. */
export const progressText = ({ bytes, estimate, records }: Export.Progress, seconds: number): string => {
  const rate = records / Math.max(seconds, 0.001)
  const left =
    estimate === undefined || estimate <= records || records === 0
      ? ""
      : ` of about ${estimate}, ${durationText((estimate - records) / rate)} left`
  return `${records} records${left}, ${sizeText(bytes)}, ${Math.round(rate)} a second`
}

const shownEvery = 200

/** Shows the progress of an export on a terminal. The line disappears at the end. */
export const withProgress = <A, E, R>(
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
