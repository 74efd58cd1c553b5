/** One value of a row. Text is shown as text, everything else as JSON with all its digits. */
import type { VNode } from "preact"
import * as Json from "../../../Json.js"
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

export const Value = ({
  limit,
  value
}: {
  readonly value: Json.JsonValue | undefined
  readonly limit?: number
}): VNode => {
  const { room } = useSite()
  const most = limit ?? room.value
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
