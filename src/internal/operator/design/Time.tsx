/** An instant in the viewer's zone, with microseconds. If the zone is not UTC, the title has the instant in UTC. */
import type { VNode } from "preact"
import { useSite } from "../site.js"
import { show } from "../zone.js"

export const css = `
time{font-variant-numeric:tabular-nums;white-space:nowrap}time i{font-style:normal;color:var(--ink3)}
.ago{color:var(--ink3);font-size:var(--small);white-space:nowrap;font-weight:400}.ago::before{content:" · "}td .ago{font-family:system-ui,sans-serif}
`

/** `full`: date and time. `clock`: the time alone. `day`: the date alone. `minute`: date and time without seconds. */
export const Time = ({
  at,
  form = "full",
  live = false,
  zoned = false
}: {
  readonly at: string
  readonly form?: "full" | "clock" | "day" | "minute"
  /** True if the script may add how long ago it was. */
  readonly live?: boolean
  /** True if nothing beside it names the zone. */
  readonly zoned?: boolean
}): VNode => {
  const { zone } = useSite()
  const { date, fraction, offset, time } = show(at, zone)
  const text =
    form === "clock" ? (
      <>
        {time}
        <i>{fraction}</i>
      </>
    ) : form === "day" ? (
      date
    ) : form === "minute" ? (
      `${date} ${time.slice(0, 5)}`
    ) : (
      <>
        {`${date} ${time}`}
        <i>{fraction}</i>
      </>
    )
  return (
    <time
      datetime={at}
      {...(zone === "UTC" && form !== "minute" ? {} : { title: `${at} (${offset})` })}
      {...(live ? { "data-live": "" } : {})}
    >
      {text}
      {zoned ? ` ${zone}` : ""}
    </time>
  )
}

export const useZoneName = (): string => useSite().zone
