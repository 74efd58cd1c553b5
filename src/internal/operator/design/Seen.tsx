/**
 * Links to exactly what a page shows. The address holds a digest, and the page says whether it still shows the same.
 */
import { createHash } from "node:crypto"
import type { VNode } from "preact"
import { Notice } from "./Notice.js"

/** A short digest of the ids on a page. */
export const digestOf = (ids: ReadonlyArray<string>): string =>
  `${ids.length}.${createHash("sha256").update(ids.join(" ")).digest("hex").slice(0, 12)}`

/**
 * The instant up to which a link shows changes: now, or the newest instant on the page if that is later, because the
 * clock of the database may be ahead of this one.
 */
export const seenUntil = (now: number, shown: ReadonlyArray<string>): string =>
  shown.reduce((end, at) => (at > end ? at : end), new Date(now).toISOString().replace("Z", "999Z"))

export const Seen = ({
  ids,
  seen
}: {
  /** The digest in the address; undefined if it has none. */
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
