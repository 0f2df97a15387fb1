-- Network Service Headers under the label of the SFF (RFC 8596), which Wireshark does not look for by itself.
--
--   tshark -X lua_script:nsh-under-mpls.lua -r capture.pcapng
--   wireshark: copy it into the folder of personal plugins (Help, About, Folders)

local sff_label = 1048575
local nsh = DissectorTable.get("ethertype"):get_dissector(0x894f)
DissectorTable.get("mpls.label"):add(sff_label, nsh)
