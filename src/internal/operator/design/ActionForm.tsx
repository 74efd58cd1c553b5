/** A form that changes something. It carries the viewer's token and the address to come back to. */
import type { ComponentChildren, VNode } from "preact"
import type { Act } from "../address.js"
import { useSite } from "../site.js"

export const css = `
form.act{display:inline-flex;flex-wrap:wrap;gap:var(--s2);align-items:end}form.act.whole{display:block}form.act input:not([type=hidden]){width:auto}
`

export const ActionForm = ({
  act,
  children,
  fields = {},
  whole = false
}: {
  readonly act: Act
  readonly fields?: Readonly<Record<string, string>>
  /** True for a form as wide as its container. */
  readonly whole?: boolean
  readonly children: ComponentChildren
}): VNode => {
  const { here, to, token } = useSite()
  return (
    <form class={whole ? "act whole" : "act"} method="post" action={to.act(act)}>
      <input type="hidden" name="token" value={token} />
      <input type="hidden" name="back" value={here} />
      {Object.entries(fields).map(([name, value]) => (
        <input key={name} type="hidden" name={name} value={value} />
      ))}
      {children}
    </form>
  )
}
