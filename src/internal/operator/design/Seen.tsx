/** Links that reopen what was seen: a few characters of the address say what it was, and the page says whether it still is. */
import { createHash } from "node:crypto"
import type { VNode } from "preact"
import { Notice } from "./Notice.js"

/** What a page showed, in a few characters: the ids of what stood there. */
export const digestOf = (ids: ReadonlyArray<string>): string =>
  `${ids.length}.${createHash("sha256").update(ids.join(" ")).digest("hex").slice(0, 12)}`

/**
 * The end of what is seen now: what comes later is not shown by a link. The clock of the database may be ahead of ours, so it is never before
 * anything that stands on the page.
 */
export const seenUntil = (now: number, shown: ReadonlyArray<string>): string =>
  shown.reduce((end, at) => (at > end ? at : end), new Date(now).toISOString().replace("Z", "999Z"))

export const Seen = ({
  ids,
  seen
}: {
  /** What the address says was seen; undefined if it is no such link. */
  readonly seen: string | undefined
  readonly ids: ReadonlyArray<string>
}): VNode | null => {
  if (seen === undefined) {
    return null
  }
  const same = seen === digestOf(ids)
  return (
    <Notice tone={same ? "plain" : "warn"}>
      <b>
        {same
          ? "This is exactly what was seen when it was linked."
          : "This is not quite what was seen when it was linked."}
      </b>
      {same ? null : (
        <span>
          Transactions that were under way have committed since, changes were removed by retention, or you see another
          scope.
        </span>
      )}
    </Notice>
  )
}
