# cmake -DOUT=x.c -DNAME=symbol -DIN=file -P embed.cmake: the bytes of a file as a zero-terminated C array.
file(READ ${IN} bytes HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${OUT} "#include \"pipeline/report_assets.h\"\n\nconst unsigned char ${NAME}[] = {${bytes}0};\n")
