/** One value of a row. Text is shown as text, everything else as JSON with all its digits. */
import type { VNode } from "preact"
import * as Json from "../../../Json.js"
import { type Mask, maskOf } from "../masks.js"
import { useSite } from "../site.js"
import { Tag } from "./Badge.js"
import { Text } from "./Text.js"

export const css = `
.v{font:var(--mono);white-space:pre-wrap;overflow-wrap:anywhere}.v.none{color:var(--ink3);font-style:italic}
`

/** What stands in an image for a value that the policy masks. */
export const masked = "[masked]"

export const Redacted = ({ changed = false }: { readonly changed?: boolean }): VNode => (
  <>
    <Tag tone="warn">masked by policy</Tag>
    {changed ? <span class="sub"> changed; neither value is stored</span> : null}
  </>
)

const counted = new Intl.NumberFormat("en")

/** How long something is that is not shown whole. */
const Length = ({ text }: { readonly text: string }): VNode => (
  <span class="sub"> {counted.format(text.length)} characters</span>
)

const reasons: Readonly<Record<Mask, string>> = {
  last4: "masked by policy, but for the end",
  hash: "hashed by policy",
  null: "null by policy"
}

/** What stands for a value that is not stored. The end, or the hash by which equal values are found, is shown beside the reason. */
const Substitute = ({ mask, value }: { readonly mask: Mask; readonly value: Json.JsonValue | undefined }): VNode => (
  <>
    <Tag tone="warn">{reasons[mask]}</Tag>
    {mask === "null" || typeof value !== "string" ? null : (
      <>
        {" "}
        <span class="v">
          <Text text={value} limit={28} />
        </span>
      </>
    )}
  </>
)

export const Value = ({
  limit,
  mask,
  value
}: {
  /** The mask of the column by the policy. */
  readonly mask?: Mask | undefined
  readonly value: Json.JsonValue | undefined
  readonly limit?: number
}): VNode => {
  const { room } = useSite()
  const most = limit ?? room.value
  const substitute = maskOf(mask, value)
  if (substitute !== undefined) {
    return <Substitute mask={substitute} value={value} />
  }
  if (value === undefined) {
    return <span class="v none">none</span>
  }
  if (value === null) {
    return <span class="v none">null</span>
  }
  if (value === masked) {
    return <Redacted />
  }
  if (value === "") {
    return <span class="v none">empty</span>
  }
  const text = typeof value === "string" ? value : Json.stringify(value)
  return (
    <span class="v">
      <Text text={text} limit={most} />
      {text.length > most ? <Length text={text} /> : null}
    </span>
  )
}
