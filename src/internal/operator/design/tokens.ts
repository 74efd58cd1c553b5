/**
 * Colours, type and space. Every colour has a light and a dark value. Text has a contrast of at least 4.5 to 1 on its
 * backgrounds.
 */
export const tokens = `
:root{color-scheme:light dark;
--ink:light-dark(#15181c,#e6e8eb);--ink2:light-dark(#4b535d,#aab2bd);--ink3:light-dark(#616a75,#929ba7);
--paper:light-dark(#fbfbfa,#121417);--raise:light-dark(#fff,#191c20);--sink:light-dark(#f2f2f0,#0d0f11);
--line:light-dark(#dfe0dd,#30353b);--line2:light-dark(#ececea,#24282d);--field:light-dark(#8b9098,#6d7580);
--accent:light-dark(#0a5a54,#67cfc3);--wash:light-dark(#e3f1ef,#12312e);--on:light-dark(#fff,#08211f);
--add:light-dark(#0f5f36,#84dfaa);--addw:light-dark(#e2f4e9,#113021);
--del:light-dark(#93261d,#f4a197);--delw:light-dark(#fbe7e4,#3b1b17);
--warn:light-dark(#714500,#f2c474);--warnw:light-dark(#fcf0d9,#342710);
--s1:4px;--s2:8px;--s3:12px;--s4:16px;--s5:24px;--s6:40px;--r:7px;
--text:14px/1.5 system-ui,"Segoe UI","Noto Sans",sans-serif;
--mono:12.5px/1.55 ui-monospace,"SF Mono","Noto Sans Mono","DejaVu Sans Mono",monospace;
--small:12.5px}
[data-theme=light]{color-scheme:light}[data-theme=dark]{color-scheme:dark}
`
