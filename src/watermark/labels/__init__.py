"""Labels that laws ask for: written, read, and held against each law's clauses.

* `watermark.labels.aigc`        the label of GB 45438-2025: its values
* `watermark.labels.containers`  where it lies in each file format
* `watermark.labels.xmp`         properties of XMP packets: the label, IPTC's AI fields
* `watermark.labels.provider`    codes of providers (TC260-PG-20252A)
* `watermark.labels.security`    the label's signature (TC260-PG-202511A)
* `watermark.labels.explicit`    what people see and hear: text, picture, sound, video
* `watermark.labels.regimes`     what each law asks of which layer, and since when
* `watermark.labels.check`       any file against them, clause by clause
"""
